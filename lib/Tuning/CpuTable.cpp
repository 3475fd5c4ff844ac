// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tables of CPU families as JSON: read, checked and printed.
// Invariant: what is printed is read as the same table, and every number of a
// table that was read is one that the kernels can be made with.

#include "tbq/CpuTable.h"

#include "format/Json.h"
#include "format/Manifest.h"
#include "format/MappedFile.h"

#include <algorithm>

using namespace mlir::tbq;
using nlohmann::json;
using ::tbq::FieldReader;
using ::tbq::JsonObject;
using ::tbq::MappedFile;
using ::tbq::Result;
using ::tbq::Status;

static constexpr uint64_t kSizeLimit = 1 << 16;
static constexpr int64_t kFormat = 1;
/// Of a figure: a machine that is as fast would be news.
static constexpr double kMostFigure = 1e9;

/// Figures of `measured`, in the order of the file.
static constexpr std::pair<const char *, double Roofline::*> kFigures[] = {
    {"read_gb_per_second", &Roofline::read},
    {"peak_gop_per_second", &Roofline::peak},
    {"decode_gb_per_second", &Roofline::decode},
    {"prefill_gop_per_second", &Roofline::prefill}};

bool TuningField::allows(int64_t number) const {
  if (number < least || number > most)
    return false;
  switch (form) {
  case Any:
    return true;
  case Multiple16:
    return number % 16 == 0;
  case Multiple64:
    return number % 64 == 0;
  case PowerOfTwo:
    return (number & (number - 1)) == 0;
  }
  return false;
}

std::string TuningField::describe() const {
  const char *forms[] = {"", ", a multiple of 16", ", a multiple of 64",
                         ", a power of two"};
  return std::to_string(least) + " to " + std::to_string(most) + forms[form];
}

const std::vector<TuningField> &mlir::tbq::tuningFields() {
  using Field = TuningField;
  static const std::vector<Field> fields = {
      {"decode", "far_bytes", &Tuning::farBytes, 0, 1 << 16, Field::Multiple64},
      {"decode", "near_bytes", &Tuning::nearBytes, 0, 1 << 16,
       Field::Multiple64},
      {"decode", "panel_bytes", &Tuning::panelBytes, 0, 1 << 20,
       Field::Multiple64},
      {"decode", "triple_columns", &Tuning::tripleColumns, 0, 1 << 16,
       Field::Multiple64},
      {"decode", "triple_weights", &Tuning::tripleWeights, 0, int64_t(1) << 40,
       Field::Any},
      {"decode", "cache_bytes", &Tuning::cacheBytes, 0, 1 << 16,
       Field::Multiple64},
      {"decode", "unrolled_steps", &Tuning::unrolledSteps, 1, 64, Field::Any},
      {"prefill", "chunk_tokens", &Tuning::chunkTokens, 1, 4096, Field::Any},
      {"prefill", "few_tokens", &Tuning::fewTokens, 1, 16, Field::Any},
      {"prefill", "token_tile", &Tuning::tokenTile, 2, 8, Field::PowerOfTwo},
      {"prefill", "row_tiles", &Tuning::rowTiles, 1, 4, Field::Any},
      {"prefill", "block_tokens", &Tuning::blockTokens, 16, 1024,
       Field::Multiple16},
      {"prefill", "unrolled_quads", &Tuning::unrolledQuads, 1, 16, Field::Any},
      {"prefill", "unrolled_tokens", &Tuning::unrolledTokens, 1, 16,
       Field::Any}};
  return fields;
}

//===----------------------------------------------------------------------===//
// Reading
//===----------------------------------------------------------------------===//

/// Refuses keys that nobody knows: a misspelt one would decide nothing.
static Status checkKeys(const JsonObject &object,
                        const std::vector<std::string> &known) {
  for (const auto &[key, value] : object.raw().items()) {
    if (std::find(known.begin(), known.end(), key) != known.end())
      continue;
    std::string list;
    for (const std::string &name : known)
      list += (list.empty() ? "" : ", ") + name;
    return object.error(key, "is not known (expected: " + list + ")");
  }
  return Status::ok();
}

static Status readSection(const JsonObject &root, const char *section,
                          Tuning &tuning) {
  Result<JsonObject> object = root.object(section);
  if (!object)
    return object.error();
  std::vector<std::string> known;
  for (const TuningField &field : tuningFields()) {
    if (std::string_view(field.section) != section)
      continue;
    known.push_back(field.key);
    Result<int64_t> number =
        object->integer(field.key, field.least, field.most);
    if (!number || !field.allows(*number))
      return object->unexpected(field.key, field.describe());
    tuning.*field.value = *number;
  }
  return checkKeys(*object, known);
}

static Status readMeasured(const JsonObject &root, CpuTable &table) {
  Result<JsonObject> object = root.object("measured");
  if (!object)
    return object.error();
  FieldReader reader;
  reader.set(table.measuredOn, object->string("on"));
  reader.set(table.threads, object->integer("threads", 1, ::tbq::kMostWorkers));
  std::vector<std::string> known = {"on", "threads"};
  for (auto [key, figure] : kFigures) {
    reader.set(table.roofline.*figure, object->number(key, 0, kMostFigure));
    known.push_back(key);
  }
  if (Status status = reader.status(); !status)
    return status;
  // Shares are of them: none is a number where one is 0.
  for (auto [key, figure] : kFigures)
    if (table.roofline.*figure <= 0)
      return object->unexpected(key, "more than 0");
  return checkKeys(*object, known);
}

Result<CpuTable> mlir::tbq::parseCpuTable(std::string_view text,
                                          const std::string &file) {
  Result<json> value = ::tbq::parseJson(text, file, kSizeLimit);
  if (!value)
    return value.error();
  Result<JsonObject> root = JsonObject::from(*value, file);
  if (!root)
    return root.error();
  if (Status status =
          checkKeys(*root, {"format", "family", "instructions", "processor",
                            "decode", "prefill", "measured"});
      !status)
    return status.error();
  CpuTable table;
  int64_t format = 0;
  FieldReader reader;
  reader.set(format, root->integer("format", kFormat, kFormat));
  reader.set(table.family, root->string("family"));
  reader.set(table.instructions, root->string("instructions"));
  if (root->has("processor"))
    reader.set(table.processor, root->string("processor"));
  if (Status status = reader.status(); !status)
    return status.error();
  const char *known[] = {"plain", "avx2", "vnni", "amx", "dotprod"};
  if (std::find(std::begin(known), std::end(known), table.instructions) ==
      std::end(known))
    return root->unexpected("instructions",
                            "plain, avx2, vnni, amx or dotprod");
  for (const char *section : {"decode", "prefill"})
    if (Status status = readSection(*root, section, table.tuning); !status)
      return status.error();
  if (table.tuning.tripleColumns && !looksUp(table.instructions))
    return root->error("decode.triple_columns",
                       "is not 0, and " + table.instructions +
                           " has no instruction for it (vnni and amx have)");
  if (root->has("measured"))
    if (Status status = readMeasured(*root, table); !status)
      return status.error();
  return table;
}

Result<CpuTable> mlir::tbq::readCpuTable(const std::string &path) {
  Result<MappedFile> file = MappedFile::open(path);
  if (!file)
    return file.error();
  return parseCpuTable({reinterpret_cast<const char *>(file->data()),
                        static_cast<size_t>(file->size())},
                       path);
}

std::string mlir::tbq::printCpuTable(const CpuTable &table) {
  nlohmann::ordered_json root = {{"format", kFormat},
                                 {"family", table.family},
                                 {"instructions", table.instructions}};
  if (!table.processor.empty())
    root["processor"] = table.processor;
  for (const TuningField &field : tuningFields())
    root[field.section][field.key] = table.tuning.*field.value;
  if (table.roofline.isKnown()) {
    root["measured"] = {{"on", table.measuredOn}, {"threads", table.threads}};
    for (auto [key, figure] : kFigures)
      root["measured"][key] = table.roofline.*figure;
  }
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
         "\n";
}
