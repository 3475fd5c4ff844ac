// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Opens artifacts. The descriptor that was checked is the one that is loaded,
// through /proc/self/fd, and stays open as long as the object is loaded: the
// dynamic loader knows an object by its path, so a reused number would give the
// first model again. Objects are shared by device and inode for the same
// reason. Invariant: each check names the file and the field that failed.
#include "runtime/Model.h"

#include "format/Artifact.h"
#include "format/CheckedSize.h"
#include "format/Cpu.h"
#include "format/Json.h"
#include "format/Sidecar.h"
#include "runtime/RandomWeights.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <sys/stat.h>
#include <tuple>

using namespace tbq;

namespace tbq {
struct LoadedObject {
  FileDescriptor file;
  void *handle = nullptr;
  const tbq_model_table *table = nullptr;
  int64_t users = 0;

  ~LoadedObject() {
    if (handle)
      dlclose(handle);
  }
};
} // namespace tbq

namespace {

/// All objects loaded in this process. Opening and closing happen under one
/// lock, so that an object is never found while it goes away.
class Registry {
public:
  static Registry &get() {
    // Never destroyed: models may be, late, by other static objects.
    static Registry &registry = *new Registry;
    return registry;
  }
  Outcome acquire(FileDescriptor file, const std::string &path,
                  std::shared_ptr<LoadedObject> &object);

private:
  using Key = std::pair<dev_t, ino_t>;
  void release(const Key &key);

  std::mutex mutex;
  std::map<Key, LoadedObject> objects;
};

} // namespace

static Outcome refuse(const Error &error) {
  return Outcome::failure(TBQ_ERROR_ARTIFACT, error);
}

static Outcome checkTarget(const Manifest::Target &target,
                           const std::string &path) {
  std::string architecture = target.triple.substr(0, target.triple.find('-'));
  if (architecture != hostArchitecture())
    return Outcome::failure(TBQ_ERROR_CPU,
                            makeError(path, "manifest.target.triple",
                                      "code for " + target.triple +
                                          ", but this host is " +
                                          hostArchitecture()));
  auto refuseFeatures = [&](const char *why,
                            const std::vector<std::string> &features) {
    std::string list;
    for (const std::string &feature : features)
      list += (list.empty() ? "" : ", ") + feature;
    return Outcome::failure(
        TBQ_ERROR_CPU,
        makeError(path, "manifest.target.features",
                  why + list + " (compiled for " + target.cpu + ")"));
  };
  std::vector<std::string> missing = missingFeatures(target.features);
  if (!missing.empty())
    return refuseFeatures("this CPU lacks ", missing);
  std::vector<std::string> refused = requestFeatures(target.features);
  if (!refused.empty())
    return refuseFeatures("this system does not permit ", refused);
  return Outcome::ok();
}

/// Everything that can be known of the file without running it.
static Outcome judge(const MappedFile &file, Manifest &manifest,
                     ArtifactTrailer &trailer) {
  const std::string &path = file.path();
  Result<ArtifactTrailer> read = readTrailer(file.data(), file.size(), path);
  if (!read)
    return refuse(read.error());
  trailer = *read;
  if (Status elf = checkElfHeader(file.data(), trailer.imageSize, path,
                                  hostElfMachine());
      !elf)
    return refuse(elf.error());
  if (Status hash = checkImageHash(trailer, file.data(), path); !hash)
    return refuse(hash.error());

  std::string_view text(reinterpret_cast<const char *>(file.data()) +
                            trailer.manifest.offset,
                        trailer.manifest.size);
  Result<nlohmann::json> json = parseJson(text, path);
  if (!json)
    return refuse(json.error());
  // The ABI first: a manifest of another one may have other fields.
  Result<JsonObject> root = JsonObject::from(*json, path, "manifest");
  if (!root)
    return refuse(root.error());
  Result<int64_t> abi = root->integer("abi", TBQ_STEP_ABI, TBQ_STEP_ABI);
  if (!abi)
    return refuse(
        makeError("", "", abi.error().message + "; compile the model again"));
  Result<Manifest> parsed = fromJson(*json, path);
  if (!parsed)
    return refuse(parsed.error());
  manifest = std::move(*parsed);
  const uint64_t embedded =
      manifest.weights.areEmbedded() ? manifest.weights.bytes : 0;
  if (trailer.weights.size != embedded)
    return refuse(makeError(path, "manifest.weights.bytes",
                            std::to_string(embedded) +
                                " of them are embedded, but the section has " +
                                std::to_string(trailer.weights.size)));
  return checkTarget(manifest.target, path);
}

/// Maps the weights that lie beside the artifact, if its manifest says so.
static Outcome openSidecar(const std::string &path, const Manifest &manifest,
                           std::optional<MappedFile> &sidecar) {
  if (!manifest.weights.sidecar)
    return Outcome::ok();
  Result<MappedFile> file = mapSidecar(path, manifest.weights);
  if (!file)
    return Outcome::failure(TBQ_ERROR_FILE, file.error());
  if (Status checked = checkSidecar(*file, manifest.weights); !checked)
    return refuse(checked.error());
  file->readAhead();
  sidecar = std::move(*file);
  return Outcome::ok();
}

/// Makes up the weights of an artifact that has the shapes alone.
Outcome Model::makeWeights(const std::string &path, const Manifest &manifest,
                           const ModelOptions &options,
                           std::shared_ptr<const ZeroPages> &pages) {
  const bool asked = options.randomWeights;
  if (manifest.weights.shapeOnly != asked)
    return refuse(makeError(
        path, "manifest.weights",
        asked ? "are there: random ones are for what --shape-only compiled"
              : "are nowhere: --shape-only compiled it, for tbq-bench "
                "--random-weights"));
  if (!asked)
    return Outcome::ok();
  // Whole pages, so that they begin on one.
  constexpr uint64_t page = 4096;
  uint64_t bytes = (manifest.weights.bytes + page - 1) / page * page;
  if (const Model *other = options.weightsOf.get();
      other && other->random &&
      other->manifest().weights.bytes == manifest.weights.bytes) {
    pages = other->random;
    return Outcome::ok();
  }
  ZeroPages made;
  if (Outcome got = ZeroPages::create(bytes, "weights", made); !got)
    return got;
  fillRandomly(made.data(), manifest.weights.bytes);
  // As an artifact's own are mapped, where the system can.
  made.useHugePages(0, bytes);
  pages = std::make_shared<ZeroPages>(std::move(made));
  return Outcome::ok();
}

/// What the code says of itself against what the manifest said of it.
static Outcome checkTable(const tbq_model_table &table,
                          const Manifest &manifest, const MappedFile &file,
                          const ArtifactTrailer &trailer) {
  auto check = [&](const char *field, uint64_t got, uint64_t wanted) {
    if (got == wanted)
      return Outcome::ok();
    return refuse(makeError(file.path(), std::string("table.") + field,
                            "must be " + std::to_string(wanted) + " (got " +
                                std::to_string(got) + ")"));
  };
  const Manifest::Steps &steps = manifest.steps;
  const struct {
    const char *field;
    uint64_t got, wanted;
  } numbers[] = {
      {"abi", table.abi, TBQ_STEP_ABI},
      {"size", table.size, sizeof(tbq_model_table)},
      {"manifest_bytes", table.manifest_bytes, trailer.manifest.size},
      {"tokenizer_bytes", table.tokenizer_bytes, trailer.tokenizer.size},
      {"weights_bytes", table.weights_bytes, manifest.weights.bytes},
      {"arena_bytes", table.arena_bytes, steps.arenaBytes},
      {"cache_bytes", table.cache_bytes, steps.cacheBytes},
      {"decode_tokens", uint64_t(table.decode_tokens),
       uint64_t(steps.decodeTokens)},
      {"prefill_tokens", uint64_t(table.prefill_tokens),
       uint64_t(steps.prefillTokens)},
      {"batch_tokens", uint64_t(table.batch_tokens),
       uint64_t(steps.batchTokens)},
      {"logits_stride", uint64_t(table.logits_stride),
       uint64_t(steps.logitsStride)},
  };
  for (const auto &number : numbers)
    if (Outcome same = check(number.field, number.got, number.wanted); !same)
      return same;
  const bool onDevice = manifest.target.device.has_value();
  const std::tuple<const char *, const void *, bool> pointers[] = {
      {"manifest", table.manifest, true},
      {"decode", reinterpret_cast<const void *>(table.decode), !onDevice},
      {"prefill", reinterpret_cast<const void *>(table.prefill), !onDevice},
      {"batch", reinterpret_cast<const void *>(table.batch),
       !onDevice && steps.batchTokens > 1},
      {"kernels", table.kernels, onDevice}};
  for (auto [field, pointer, wanted] : pointers)
    if (bool(pointer) != wanted)
      return refuse(makeError(file.path(), std::string("table.") + field,
                              wanted ? "is null" : "is not null"));
  const bool embedded = manifest.weights.areEmbedded();
  if ((table.weights == nullptr) == embedded)
    return refuse(makeError(file.path(), "table.weights",
                            embedded ? "is null"
                                     : "is not null, but the weights are not "
                                       "in the file"));
  if (std::memcmp(table.manifest, file.data() + trailer.manifest.offset,
                  table.manifest_bytes) != 0)
    return refuse(makeError(file.path(), "table.manifest",
                            "differs from the file: it was changed while "
                            "another model was loaded from it"));
  return Outcome::ok();
}

static Outcome load(LoadedObject &object, const std::string &path) {
  std::string link = "/proc/self/fd/" + std::to_string(object.file.get());
  object.handle = dlopen(link.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!object.handle)
    return refuse(makeError(path, "dlopen", dlerror()));
  auto query = reinterpret_cast<tbq_model_query_fn>(
      dlsym(object.handle, "tbq_model_query"));
  if (!query)
    return refuse(makeError(path, "tbq_model_query", "no such symbol"));
  object.table = query(TBQ_STEP_ABI);
  if (!object.table)
    return refuse(makeError(path, "tbq_model_query",
                            "the code does not speak step ABI " +
                                std::to_string(TBQ_STEP_ABI)));
  return Outcome::ok();
}

Outcome Registry::acquire(FileDescriptor file, const std::string &path,
                          std::shared_ptr<LoadedObject> &object) {
  struct stat info;
  if (fstat(file.get(), &info) != 0)
    return Outcome::failure(TBQ_ERROR_FILE,
                            makeError(path, "", std::strerror(errno)));
  Key key(info.st_dev, info.st_ino);
  std::lock_guard<std::mutex> lock(mutex);
  LoadedObject &entry = objects[key];
  if (entry.users == 0) {
    entry.file = std::move(file);
    if (Outcome loaded = load(entry, path); !loaded) {
      objects.erase(key);
      return loaded;
    }
  }
  ++entry.users;
  object.reset(&entry, [this, key](LoadedObject *) { release(key); });
  return Outcome::ok();
}

void Registry::release(const Key &key) {
  std::lock_guard<std::mutex> lock(mutex);
  auto entry = objects.find(key);
  if (--entry->second.users == 0)
    objects.erase(entry);
}

Model::Model(std::string path, Manifest manifest,
             std::shared_ptr<LoadedObject> object,
             std::optional<MappedFile> sidecar,
             std::shared_ptr<const ZeroPages> random)
    : name(std::move(path)), description(std::move(manifest)),
      object(std::move(object)), entries(this->object->table),
      sidecar(std::move(sidecar)), random(std::move(random)),
      weightBytes(this->sidecar ? this->sidecar->data() + sidecarHeaderBytes
                  : entries->weights ? entries->weights
                                     : this->random->data()) {}

Outcome Model::open(const std::string &path, const ModelOptions &options,
                    std::shared_ptr<const Model> &model) {
  Result<FileDescriptor> descriptor = openForReading(path);
  if (!descriptor)
    return Outcome::failure(TBQ_ERROR_FILE, descriptor.error());
  Result<MappedFile> file = MappedFile::fromDescriptor(descriptor->get(), path);
  if (!file)
    return Outcome::failure(TBQ_ERROR_FILE, file.error());
  Manifest manifest;
  ArtifactTrailer trailer;
  if (Outcome judged = judge(*file, manifest, trailer); !judged)
    return judged;
  std::optional<MappedFile> sidecar;
  if (Outcome found = openSidecar(path, manifest, sidecar); !found)
    return found;
  std::shared_ptr<const ZeroPages> random;
  if (Outcome made = makeWeights(path, manifest, options, random); !made)
    return made;
  std::shared_ptr<LoadedObject> object;
  if (Outcome done =
          Registry::get().acquire(std::move(*descriptor), path, object);
      !done)
    return done;
  if (Outcome agrees = checkTable(*object->table, manifest, *file, trailer);
      !agrees)
    return agrees;
  std::shared_ptr<Model> opened(new Model(path, std::move(manifest),
                                          std::move(object), std::move(sidecar),
                                          std::move(random)));
  if (Outcome understood = opened->openText(); !understood)
    return understood;
  if (options.hugePages)
    if (Outcome held = opened->copyWeights(); !held)
      return held;
  if (options.verifyWeights)
    if (Outcome verified = opened->verifyWeights(); !verified)
      return verified;
  model = std::move(opened);
  return Outcome::ok();
}

Outcome Model::openText() {
  if (entries->tokenizer_bytes) {
    Result<Tokenizer> opened =
        Tokenizer::open(entries->tokenizer, entries->tokenizer_bytes, name);
    if (!opened)
      return refuse(opened.error());
    text = std::move(*opened);
  }
  if (description.chat.is_null())
    return Outcome::ok();
  Result<JsonObject> object =
      JsonObject::from(description.chat, name, "manifest.chat");
  if (!object)
    return refuse(object.error());
  Result<ChatFormat> format = chatFormatFromJson(*object);
  if (!format)
    return refuse(format.error());
  conversation = std::move(*format);
  return Outcome::ok();
}

/// Piece by piece, so that the process holds no byte twice for long.
Outcome Model::copyWeights() {
  if (onDevice() || random)
    return Outcome::ok();
  constexpr uint64_t page = 4096, piece = 2 << 20;
  const uint64_t bytes = description.weights.bytes;
  if (Outcome got = ZeroPages::create((bytes + page - 1) / page * page,
                                      "weights", copied);
      !got)
    return got;
  copied.useHugePages(0, bytes);
  for (uint64_t begin = 0; begin < bytes; begin += piece) {
    const uint64_t size = std::min(piece, bytes - begin);
    std::memcpy(copied.data() + begin, weightBytes + begin, size);
    // Whole pages, as the weights begin on one; they can be read anew.
    madvise(const_cast<uint8_t *>(weightBytes) + begin, size / page * page,
            MADV_DONTNEED);
  }
  weightBytes = copied.data();
  return Outcome::ok();
}

std::optional<int32_t> Model::firstToken() const {
  if (description.generation.bos || !text)
    return description.generation.bos;
  return text->firstToken();
}

bool Model::isEnd(int32_t token) const {
  const std::vector<int32_t> &ends = description.generation.eos;
  return std::find(ends.begin(), ends.end(), token) != ends.end();
}

Outcome Model::verifyWeights() const {
  const Manifest::Weights &weights = description.weights;
  std::vector<uint64_t> hashes =
      hashWeightBlocks(weightBytes, weights.bytes, weights.hashBlock);
  for (size_t i = 0; i < hashes.size(); ++i)
    if (hashes[i] != weights.hashes[i])
      return Outcome::failure(
          TBQ_ERROR_VERIFICATION,
          makeError(sidecar ? sidecar->path() : name, "weights",
                    "damaged: block " + std::to_string(i) + " (from byte " +
                        std::to_string(i * weights.hashBlock) +
                        " of them) does not have the recorded hash"));
  return Outcome::ok();
}
