// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// runtime/tbq.h as Python classes. Input: paths, text, lists of tokens; output:
// lists, str and numpy arrays of float32, all of them copies.
// Invariant: it uses the public interface alone; a status that is not TBQ_OK
// becomes tbq_runtime.Error; other Python threads run while a step does, and a
// session takes one call at a time.
#include "runtime/tbq.h"

#include <memory>
#include <mutex>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>
#include <optional>

namespace nb = nanobind;
using namespace nb::literals;

using Tokens = std::vector<int32_t>;
using Matrix = nb::ndarray<nb::numpy, float, nb::ndim<2>>;
using Vector = nb::ndarray<nb::numpy, float, nb::ndim<1>>;
using Logits =
    nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

namespace {

struct Failure {
  tbq_status status;
  std::string message;
};

void require(tbq_status status) {
  if (status != TBQ_OK)
    throw Failure{status, tbq_last_error()};
}

template <auto Destroy> struct Destroyer {
  template <class T> void operator()(T *object) const { Destroy(object); }
};

/// The owner of what a create call gave.
template <class T, void (*Destroy)(T *)>
using Owned = std::unique_ptr<T, Destroyer<Destroy>>;

struct Model {
  Owned<tbq_model, tbq_model_destroy> handle;

  Model(const std::string &path, bool verifyWeights, bool hugePages) {
    tbq_model_options options = tbq_model_defaults();
    options.verify_weights = verifyWeights;
    options.huge_pages = hugePages;
    tbq_model *loaded = nullptr;
    nb::gil_scoped_release release;
    require(tbq_model_load(path.c_str(), &options, &loaded));
    handle.reset(loaded);
  }

  int32_t vocab() const { return tbq_model_vocab(handle.get()); }

  Tokens tokenize(std::string_view text, bool addSpecial,
                  bool parseSpecial) const {
    unsigned flags = (addSpecial ? TBQ_ADD_SPECIAL : 0) |
                     (parseSpecial ? TBQ_PARSE_SPECIAL : 0);
    return fill<Tokens>([&](int32_t *to, size_t capacity, size_t *count) {
      return tbq_tokenize(handle.get(), text.data() ? text.data() : "",
                          text.size(), flags, to, capacity, count);
    });
  }

  std::string detokenize(const Tokens &tokens, bool keepSpecial) const {
    return fill<std::string>([&](char *to, size_t capacity, size_t *size) {
      return tbq_detokenize(handle.get(), tokens.data(), tokens.size(),
                            keepSpecial, to, capacity, size);
    });
  }

  Tokens
  renderChat(const std::vector<std::pair<std::string, std::string>> &messages,
             bool answer) const {
    std::vector<tbq_chat_message> borrowed;
    for (const auto &[role, content] : messages)
      borrowed.push_back({role.c_str(), content.c_str()});
    return fill<Tokens>([&](int32_t *to, size_t capacity, size_t *count) {
      return tbq_chat_render(handle.get(), borrowed.data(), borrowed.size(),
                             answer, to, capacity, count);
    });
  }

private:
  /// Asks for the size, then for the content.
  template <class Container, class Call> static Container fill(Call call) {
    Container content;
    size_t size = 0;
    tbq_status status = call(nullptr, 0, &size);
    if (status != TBQ_ERROR_BUFFER) {
      require(status);
      return content;
    }
    content.resize(size);
    require(call(content.data(), size, &size));
    return content;
  }
};

/// A numpy array that owns its floats.
template <class Array>
Array newArray(std::unique_ptr<float[]> values,
               std::initializer_list<size_t> shape) {
  float *data = values.get();
  nb::capsule owner(data, [](void *pointer) noexcept {
    delete[] static_cast<float *>(pointer);
  });
  values.release();
  return Array(data, shape, owner);
}

struct Session {
  Owned<tbq_session, tbq_session_destroy> handle;
  size_t vocab;
  std::mutex mutex;

  Session(const Model &model, int32_t threads, int32_t context,
          int32_t sequences)
      : vocab(static_cast<size_t>(model.vocab())) {
    tbq_session_options options = {threads, context, sequences};
    tbq_session *created = nullptr;
    require(tbq_session_create(model.handle.get(), &options, &created));
    handle.reset(created);
  }

  void eval(const Tokens &tokens) { step(tokens, nullptr); }

  Matrix evalAll(const Tokens &tokens) {
    auto room = static_cast<size_t>(tbq_session_context(handle.get()));
    // Of tokens that do not fit none is evaluated, so there are no logits.
    size_t rows = tokens.size() <= room ? tokens.size() : 0;
    std::unique_ptr<float[]> logits(new float[rows * vocab]);
    step(tokens, logits.get());
    return newArray<Matrix>(std::move(logits), {rows, vocab});
  }

  Matrix evalBatch(const Tokens &sequences, const Tokens &tokens) {
    if (sequences.size() != tokens.size())
      throw Failure{TBQ_ERROR_ARGUMENT,
                    "tokens: must be one a sequence, " +
                        std::to_string(sequences.size()) + " (got " +
                        std::to_string(tokens.size()) + ")"};
    std::unique_ptr<float[]> logits(new float[tokens.size() * vocab]);
    static const int32_t none = 0; // an empty vector has no data
    {
      nb::gil_scoped_release release;
      std::lock_guard<std::mutex> lock(mutex);
      require(tbq_session_eval_batch(
          handle.get(), sequences.empty() ? &none : sequences.data(),
          tokens.empty() ? &none : tokens.data(), tokens.size(), logits.get()));
    }
    return newArray<Matrix>(std::move(logits), {tokens.size(), vocab});
  }

  void select(int32_t sequence) {
    std::lock_guard<std::mutex> lock(mutex);
    require(tbq_session_select(handle.get(), sequence));
  }

  std::optional<Vector> logits() {
    std::lock_guard<std::mutex> lock(mutex);
    const float *last = tbq_session_logits(handle.get());
    if (!last)
      return std::nullopt;
    std::unique_ptr<float[]> copy(new float[vocab]);
    std::copy(last, last + vocab, copy.get());
    return newArray<Vector>(std::move(copy), {vocab});
  }

  void rollback(int32_t position) {
    std::lock_guard<std::mutex> lock(mutex);
    require(tbq_session_rollback(handle.get(), position));
  }

private:
  void step(const Tokens &tokens, float *logits) {
    static const int32_t none = 0; // an empty vector has no data
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock(mutex);
    require(tbq_session_eval(handle.get(),
                             tokens.empty() ? &none : tokens.data(),
                             tokens.size(), logits));
  }
};

struct Sampler {
  Owned<tbq_sampler, tbq_sampler_destroy> handle;
  size_t vocab;

  Sampler(const Model &model, std::optional<float> temperature,
          std::optional<int32_t> topK, std::optional<float> topP,
          std::optional<float> minP, std::optional<float> repeatPenalty,
          std::optional<int32_t> repeatLast, uint64_t seed)
      : vocab(static_cast<size_t>(model.vocab())) {
    tbq_sampler_options options = tbq_sampler_defaults(model.handle.get());
    options.temperature = temperature.value_or(options.temperature);
    options.top_k = topK.value_or(options.top_k);
    options.top_p = topP.value_or(options.top_p);
    options.min_p = minP.value_or(options.min_p);
    options.repeat_penalty = repeatPenalty.value_or(options.repeat_penalty);
    options.repeat_last = repeatLast.value_or(options.repeat_last);
    options.seed = seed;
    tbq_sampler *created = nullptr;
    require(tbq_sampler_create(model.handle.get(), &options, &created));
    handle.reset(created);
  }

  int32_t sample(const Logits &logits) {
    if (logits.size() != vocab)
      throw Failure{TBQ_ERROR_ARGUMENT,
                    "logits: must be " + std::to_string(vocab) + " (got " +
                        std::to_string(logits.size()) + ")"};
    int32_t token = 0;
    require(tbq_sampler_sample(handle.get(), logits.data(), &token));
    return token;
  }

  int32_t sampleFrom(Session &session) {
    std::lock_guard<std::mutex> lock(session.mutex);
    int32_t token = 0;
    require(tbq_session_sample(session.handle.get(), handle.get(), &token));
    return token;
  }

  void accept(int32_t token) {
    require(tbq_sampler_accept(handle.get(), token));
  }
  void reset() { require(tbq_sampler_reset(handle.get())); }
};

struct Stream {
  Owned<tbq_stream, tbq_stream_destroy> handle;

  Stream(const Model &model, bool keepSpecial) {
    tbq_stream *created = nullptr;
    require(tbq_stream_create(model.handle.get(), keepSpecial, &created));
    handle.reset(created);
  }

  std::string push(int32_t token) {
    const char *text = nullptr;
    size_t size = 0;
    require(tbq_stream_push(handle.get(), token, &text, &size));
    return {text, size};
  }

  std::string finish() {
    const char *text = nullptr;
    size_t size = 0;
    require(tbq_stream_finish(handle.get(), &text, &size));
    return {text, size};
  }
};

/// tbq_runtime.Error, a RuntimeError with the status beside its message.
void bindErrors(nb::module_ &module) {
  nb::enum_<tbq_status>(module, "Status")
      .value("ARGUMENT", TBQ_ERROR_ARGUMENT)
      .value("FILE", TBQ_ERROR_FILE)
      .value("ARTIFACT", TBQ_ERROR_ARTIFACT)
      .value("CPU", TBQ_ERROR_CPU)
      .value("CONTEXT_FULL", TBQ_ERROR_CONTEXT_FULL)
      .value("BUFFER", TBQ_ERROR_BUFFER)
      .value("UNSUPPORTED", TBQ_ERROR_UNSUPPORTED)
      .value("MEMORY", TBQ_ERROR_MEMORY)
      .value("INTERNAL", TBQ_ERROR_INTERNAL)
      .value("VERIFICATION", TBQ_ERROR_VERIFICATION)
      .value("DEVICE", TBQ_ERROR_DEVICE);
  PyObject *type =
      PyErr_NewException("tbq_runtime.Error", PyExc_RuntimeError, nullptr);
  if (!type)
    nb::raise_python_error();
  module.attr("Error") = nb::steal(type);
  nb::register_exception_translator(
      [](const std::exception_ptr &pointer, void *payload) {
        try {
          std::rethrow_exception(pointer);
        } catch (const Failure &failure) {
          nb::handle type(static_cast<PyObject *>(payload));
          nb::object error = type(failure.message);
          error.attr("status") = nb::cast(failure.status);
          PyErr_SetObject(type.ptr(), error.ptr());
        }
      },
      type);
}

} // namespace

NB_MODULE(native, module) {
  bindErrors(module);
  module.def("version", [] { return tbq_version(); });

  nb::class_<Model>(module, "Model")
      .def(nb::init<const std::string &, bool, bool>(), "path"_a,
           "verify_weights"_a = false, "huge_pages"_a = false)
      .def_prop_ro("manifest_json",
                   [](const Model &model) {
                     return tbq_model_manifest(model.handle.get());
                   })
      .def_prop_ro("vocab", &Model::vocab)
      .def_prop_ro("context",
                   [](const Model &model) {
                     return tbq_model_context(model.handle.get());
                   })
      .def_prop_ro("max_batch",
                   [](const Model &model) {
                     return tbq_model_max_batch(model.handle.get());
                   })
      .def_prop_ro("first_token",
                   [](const Model &model) -> std::optional<int32_t> {
                     int32_t token = tbq_model_first_token(model.handle.get());
                     return token < 0 ? std::nullopt : std::optional(token);
                   })
      .def_prop_ro("has_tokenizer",
                   [](const Model &model) {
                     return tbq_model_has_tokenizer(model.handle.get()) != 0;
                   })
      .def_prop_ro("has_chat",
                   [](const Model &model) {
                     return tbq_model_has_chat(model.handle.get()) != 0;
                   })
      .def(
          "is_end",
          [](const Model &model, int32_t token) {
            return tbq_model_is_end(model.handle.get(), token) != 0;
          },
          "token"_a)
      .def("tokenize", &Model::tokenize, "text"_a, "add_special"_a = true,
           "parse_special"_a = true)
      .def("detokenize", &Model::detokenize, "tokens"_a,
           "keep_special"_a = false)
      .def("render_chat", &Model::renderChat, "messages"_a, "answer"_a = true);

  nb::class_<Session>(module, "Session")
      .def(nb::init<const Model &, int32_t, int32_t, int32_t>(), "model"_a,
           "threads"_a = 0, "context"_a = 0, "sequences"_a = 1)
      .def("eval", &Session::eval, "tokens"_a)
      .def("eval_all", &Session::evalAll, "tokens"_a)
      .def("eval_batch", &Session::evalBatch, "sequences"_a, "tokens"_a)
      .def("select", &Session::select, "sequence"_a)
      .def_prop_ro("logits", &Session::logits, nb::rv_policy::automatic)
      .def(
          "sample",
          [](Session &session, Sampler &sampler) {
            return sampler.sampleFrom(session);
          },
          "sampler"_a)
      .def("rollback", &Session::rollback, "position"_a)
      .def_prop_ro("position",
                   [](const Session &session) {
                     return tbq_session_position(session.handle.get());
                   })
      .def_prop_ro("context",
                   [](const Session &session) {
                     return tbq_session_context(session.handle.get());
                   })
      .def_prop_ro("threads", [](const Session &session) {
        return tbq_session_threads(session.handle.get());
      });

  nb::class_<Sampler>(module, "Sampler")
      .def(nb::init<const Model &, std::optional<float>, std::optional<int32_t>,
                    std::optional<float>, std::optional<float>,
                    std::optional<float>, std::optional<int32_t>, uint64_t>(),
           "model"_a, nb::kw_only(), "temperature"_a = nb::none(),
           "top_k"_a = nb::none(), "top_p"_a = nb::none(),
           "min_p"_a = nb::none(), "repeat_penalty"_a = nb::none(),
           "repeat_last"_a = nb::none(), "seed"_a = 0)
      .def("sample", &Sampler::sample, "logits"_a)
      .def("accept", &Sampler::accept, "token"_a)
      .def("reset", &Sampler::reset);

  nb::class_<Stream>(module, "Stream")
      .def(nb::init<const Model &, bool>(), "model"_a, "keep_special"_a = false)
      .def("push", &Stream::push, "token"_a)
      .def("finish", &Stream::finish);
}
