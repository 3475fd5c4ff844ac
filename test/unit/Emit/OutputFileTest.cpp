// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Two files get their names together: what fails half-way leaves the older pair
// as it was and nothing else.
#include "../../../lib/Emit/OutputFile.h"

#include "llvm/ADT/StringExtras.h"
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

using namespace mlir::tbq;
namespace fs = std::filesystem;

namespace {

class KeepBoth : public testing::Test {
protected:
  KeepBoth() {
    std::string name = testing::TempDir() + "tbq-emit-test-XXXXXX";
    folder = mkdtemp(name.data());
  }
  ~KeepBoth() override { fs::remove_all(folder); }

  std::string pathOf(const char *name) const { return folder / name; }
  void write(const char *name, const std::string &text) const {
    std::ofstream(pathOf(name)) << text;
  }
  std::string read(const char *name) const {
    std::ifstream file(pathOf(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  size_t count() const {
    return std::distance(fs::directory_iterator(folder),
                         fs::directory_iterator());
  }
  OutputFile make(const char *name) const {
    auto file = OutputFile::create(pathOf(name));
    EXPECT_TRUE(file) << file.error().message;
    EXPECT_TRUE(file->write(llvm::arrayRefFromStringRef("new")));
    return std::move(*file);
  }

  fs::path folder;
};

} // namespace

TEST_F(KeepBoth, ReplacesBoth) {
  write("weights", "old");
  {
    OutputFile first = make("weights"), last = make("model");
    EXPECT_EQ(read("weights"), "old");
    EXPECT_TRUE(OutputFile::keepBoth(first, last));
  }
  EXPECT_EQ(read("weights"), "new");
  EXPECT_EQ(read("model"), "new");
  EXPECT_EQ(count(), 2u);
}

TEST_F(KeepBoth, PutsTheOlderFileBack) {
  write("weights", "old");
  {
    OutputFile first = make("weights"), last = make("model");
    fs::create_directory(pathOf("model")); // in the way of the second
    auto kept = OutputFile::keepBoth(first, last);
    ASSERT_FALSE(kept);
    EXPECT_NE(kept.error().message.find("/model: "), std::string::npos);
  }
  EXPECT_EQ(read("weights"), "old");
  EXPECT_EQ(count(), 2u);
}

TEST_F(KeepBoth, LeavesNothingWhereNothingWas) {
  {
    OutputFile first = make("weights"), last = make("model");
    fs::create_directory(pathOf("model"));
    EXPECT_FALSE(OutputFile::keepBoth(first, last));
  }
  EXPECT_EQ(count(), 1u);
}
