// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the tests of config.json share, whatever the architecture: a directory
// whose config is bent field by field.
#ifndef TBQ_TEST_UNIT_IMPORT_CONFIGFIXTURE_H
#define TBQ_TEST_UNIT_IMPORT_CONFIGFIXTURE_H

#include "TemporaryModel.h"

#include <functional>

namespace tbq {

class ConfigFixture : public testing::Test {
protected:
  using json = nlohmann::json;

  void SetUp() override { model.writeAll(); }

  ModelConfig open() {
    model.writeAll();
    auto checkpoint = Checkpoint::open(model.path());
    EXPECT_TRUE(checkpoint) << checkpoint.error().message;
    return checkpoint ? checkpoint->config() : ModelConfig();
  }

  /// The message when `field` has this value; "" if it loads.
  std::string failureWith(const std::string &field, const json &value) {
    json saved = model.config;
    model.config[field] = value;
    model.writeConfig();
    std::string message = model.failure();
    model.config = saved;
    return message;
  }

  testing::AssertionResult refuses(const std::string &field, const json &value,
                                   const std::string &detail) {
    return isErrorAbout(failureWith(field, value),
                        model.path() + "/config.json: ", detail);
  }

  struct Matrix {
    int cases = 0, loaded = 0;
  };

  /// R7: every field with every value, wrong types and bounds included. A case
  /// either fails with one line about the model or loads what `check` takes.
  Matrix tryAll(const std::vector<const char *> &fields,
                const std::vector<json> &more,
                const std::function<void(const ModelConfig &)> &check) {
    std::vector<json> values = {nullptr,   true,
                                false,     0,
                                1,         2,
                                3,         -1,
                                8,         1.5,
                                1e30,      INT64_MAX,
                                INT64_MIN, UINT64_MAX,
                                "",        json::array(),
                                {1},       json::object(),
                                4097,      1 << 25};
    values.insert(values.end(), more.begin(), more.end());
    Matrix tried;
    for (const char *field : fields)
      for (const json &value : values) {
        std::string message = failureWith(field, value);
        ++tried.cases;
        if (!message.empty()) {
          EXPECT_TRUE(isErrorAbout(message, model.path(), ""));
          continue;
        }
        ++tried.loaded;
        json saved = model.config;
        model.config[field] = value;
        check(open());
        model.config = saved;
      }
    return tried;
  }

  TemporaryModel model;
};

} // namespace tbq

#endif // TBQ_TEST_UNIT_IMPORT_CONFIGFIXTURE_H
