// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Attempts to make the readers open a file outside the model directory, and
// the one layout where links are legitimate: a Hugging Face cache.
#include "TemporaryModel.h"

#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

using namespace tbq;
namespace fs = std::filesystem;

/// A model directory inside a folder that also holds valid weights outside.
class Paths : public testing::Test {
protected:
  void SetUp() override {
    model.writeConfig();
    model.write("inside.safetensors", safetensorsBytes(model.tensors));
    fs::create_directory(outside.path() + "/sub");
    outside.write("secret.safetensors", safetensorsBytes(model.tensors));
  }

  std::string failureOfShard(const std::string &shard) {
    nlohmann::json index;
    for (const auto &[name, unused] : model.tensors)
      index["weight_map"][name] = shard;
    model.write("model.safetensors.index.json", index.dump());
    return model.failure();
  }

  TemporaryModel model, outside;
};

TEST_F(Paths, ShardNamesStayInside) {
  ASSERT_EQ(failureOfShard("inside.safetensors"), "");
  using namespace std::string_literals;
  const std::string index = model.path() + "/model.safetensors.index.json";
  const std::string folder = fs::path(outside.path()).filename();
  const std::string secret = outside.path() + "/secret.safetensors";
  for (const std::string &shard :
       {secret, "../" + folder + "/secret.safetensors",
        "./../" + folder + "/secret.safetensors",
        "x/../../" + folder + "/secret.safetensors", "//" + secret,
        "..\\" + folder + "\\secret.safetensors", "./inside.safetensors"s,
        "sub/inside.safetensors"s, ".."s, "."s, ""s, "/"s, "~/x.safetensors"s,
        "inside.safetensors\0.safetensors"s, "../.safetensors"s,
        "/proc/self/fd/0.safetensors"s, "file://"s + secret,
        "%2e%2e%2f"s + folder + "%2fsecret.safetensors",
        std::string(300, 'a') + ".safetensors"})
    EXPECT_TRUE(isErrorAbout(failureOfShard(shard), index, "")) << shard;
  EXPECT_TRUE(isErrorAbout(failureOfShard("../x.safetensors"), index,
                           "'../x.safetensors' is not a plain name inside the "
                           "model directory"));
}

TEST_F(Paths, LinksOutAreRefused) {
  const std::string link = model.path() + "/link.safetensors";
  for (const std::string &target :
       {outside.path() + "/secret.safetensors",
        "../" + fs::path(outside.path()).filename().string() +
            "/secret.safetensors",
        std::string("inside.safetensors"), std::string("../../blobs/x"),
        std::string("link.safetensors")}) {
    fs::remove(link);
    fs::create_symlink(target, link);
    EXPECT_TRUE(isErrorAbout(failureOfShard("link.safetensors"), link,
                             "is a symbolic link (to '" + target + "')"));
  }
}

TEST_F(Paths, EveryFileIsHeldToTheRule) {
  model.write("model.safetensors", safetensorsBytes(model.tensors));
  ASSERT_EQ(model.failure(), "");
  outside.writeAll();
  outside.write("generation_config.json", "{}");
  for (const char *name :
       {"model.safetensors", "config.json", "generation_config.json"}) {
    const std::string path = model.path() + "/" + name;
    fs::remove(path);
    fs::create_symlink(outside.path() + "/" + name, path);
    EXPECT_TRUE(isErrorAbout(model.failure(), path, "is a symbolic link"));
    fs::remove(path);
    fs::copy_file(outside.path() + "/" + name, path);
    ASSERT_EQ(model.failure(), "") << name;
  }
  auto checkpoint = Checkpoint::open(model.path());
  fs::create_symlink(outside.path() + "/config.json",
                     model.path() + "/tokenizer.json");
  auto text = checkpoint->readText("tokenizer.json");
  ASSERT_FALSE(text);
  EXPECT_TRUE(isErrorAbout(text.error().message,
                           model.path() + "/tokenizer.json",
                           "is a symbolic link"));
  EXPECT_FALSE(checkpoint->readText("../config.json"));
  EXPECT_FALSE(checkpoint->readText(outside.path() + "/config.json"));
  EXPECT_EQ(*checkpoint->readText("chat_template.jinja"), std::nullopt);
}

TEST_F(Paths, SpecialFilesDoNotBlock) {
  const std::string path = model.path() + "/model.safetensors";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_TRUE(isErrorAbout(model.failure(), path, "is not a regular file"));
  fs::remove(path);
  fs::create_directory(path);
  EXPECT_TRUE(isErrorAbout(model.failure(), path, "is a directory"));
  EXPECT_TRUE(isErrorAbout(
      Checkpoint::open(model.path() + "/config.json").error().message,
      model.path() + "/config.json", "is not a directory"));
  EXPECT_FALSE(Checkpoint::open(model.path() + "/none"));
  EXPECT_FALSE(Checkpoint::open(""));
}

/// models--org--name/{snapshots/REVISION, blobs} below `root`.
class HubCache : public testing::Test {
protected:
  void SetUp() override {
    repository = base.path() + "/models--org--name";
    snapshot = repository + "/snapshots/0123abcd";
    fs::create_directories(snapshot);
    fs::create_directories(repository + "/blobs");
    addBlob("c0ffee", base.config.dump(), "config.json");
    addBlob(std::string(64, 'a'), safetensorsBytes(base.tensors),
            "model.safetensors");
  }

  void addBlob(const std::string &hash, const std::string &content,
               const std::string &name) {
    std::ofstream(repository + "/blobs/" + hash, std::ios::binary) << content;
    fs::create_symlink("../../blobs/" + hash, snapshot + "/" + name);
  }

  void relink(const std::string &target) {
    fs::remove(snapshot + "/model.safetensors");
    fs::create_symlink(target, snapshot + "/model.safetensors");
  }

  std::string failure(const std::string &path) {
    auto checkpoint = Checkpoint::open(path);
    return checkpoint ? "" : checkpoint.error().message;
  }

  TemporaryModel base;
  std::string repository, snapshot;
};

TEST_F(HubCache, Loads) {
  EXPECT_EQ(failure(snapshot), "");
  EXPECT_EQ(failure(snapshot + "/"), "");
  // The user may name the directory through a link of their own.
  fs::create_directory_symlink(snapshot, base.path() + "/mine");
  EXPECT_EQ(failure(base.path() + "/mine"), "");
}

TEST_F(HubCache, LinksElsewhereAreRefused) {
  base.write("secret", safetensorsBytes(base.tensors));
  fs::create_symlink("../../secret", repository + "/blobs/chained");
  fs::create_directory(repository + "/blobs/folder");
  const std::string file = snapshot + "/model.safetensors: ";
  for (const char *target :
       {"../../../secret", "../../blobs/../../secret", "../../blobs/",
        "../../blobs/..", "../../blobs/chained", "../../blobs/none",
        "../../blobs/folder", "../../blobs", "/etc/passwd",
        "../../snapshots/0123abcd/config.json", "../../blobs//c0ffee"}) {
    relink(target);
    EXPECT_TRUE(isErrorAbout(failure(snapshot), file, "")) << target;
  }
  relink((repository + "/blobs/" + std::string(64, 'a')).c_str());
  EXPECT_TRUE(isErrorAbout(failure(snapshot), file, "is a symbolic link"));
}

TEST_F(HubCache, LinkedBlobsFolderIsRefused) {
  fs::rename(repository + "/blobs", base.path() + "/elsewhere");
  fs::create_directory_symlink("../elsewhere", repository + "/blobs");
  EXPECT_TRUE(
      isErrorAbout(failure(snapshot), snapshot, "cannot open its blob"));
}

TEST_F(HubCache, OtherLayoutsMayNotLink) {
  const std::string other = base.path() + "/plain/snapshots/0123abcd";
  fs::create_directories(base.path() + "/plain/snapshots");
  fs::rename(snapshot, other);
  fs::rename(repository + "/blobs", base.path() + "/plain/blobs");
  EXPECT_TRUE(isErrorAbout(failure(other), other + "/config.json",
                           "is a symbolic link"));
}
