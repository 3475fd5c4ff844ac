// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Mapping and reading of regular files, and refusal of everything else.
#include "format/MappedFile.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

using namespace tbq;

class MappedFiles : public testing::Test {
protected:
  void SetUp() override {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "tbq-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory); }

  std::string write(const std::string &content) {
    std::string path = directory + "/file";
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }

  std::string directory;
};

TEST_F(MappedFiles, MapsAndDropsPages) {
  std::string content;
  for (int i = 0; i < 20'000; ++i)
    content += static_cast<char>(i * 7);
  auto file = MappedFile::open(write(content));
  ASSERT_TRUE(file) << file.error().message;
  auto same = [&] {
    return std::string_view(reinterpret_cast<const char *>(file->data()),
                            file->size()) == content;
  };
  EXPECT_TRUE(same());
  file->dropPages(0, UINT64_MAX);
  EXPECT_TRUE(same());
  file->dropPages(5000, 5000);
  file->dropPages(UINT64_MAX, 1);
  EXPECT_TRUE(same());
  MappedFile moved = *std::move(file);
  EXPECT_EQ(moved.size(), content.size());
  EXPECT_EQ(moved.data()[3], 21);
}

TEST_F(MappedFiles, EmptyFile) {
  auto file = MappedFile::open(write(""));
  ASSERT_TRUE(file);
  EXPECT_EQ(file->size(), 0u);
  file->dropPages(0, 1);
}

TEST_F(MappedFiles, RefusesWhatIsNotARegularFile) {
  auto missing = MappedFile::open(directory + "/none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message,
            directory + "/none: cannot open: No such file or directory");
  auto folder = MappedFile::open(directory);
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().message,
            directory + ": is a directory, expected a file");
  std::string pipe = directory + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  auto fifo = MappedFile::open(pipe); // must not wait for a writer
  ASSERT_FALSE(fifo);
  EXPECT_EQ(fifo.error().message, pipe + ": is not a regular file");
}

TEST_F(MappedFiles, ReadsWholeFilesUpToALimit) {
  std::string path = write("hello");
  auto descriptor = openForReading(path);
  ASSERT_TRUE(descriptor);
  EXPECT_EQ(*readWholeFile(descriptor->get(), path, 5), "hello");
  auto large = readWholeFile(descriptor->get(), path, 4);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().message,
            path + ": is 5 bytes, more than the limit of 4");
}
