// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "tbq/CpuTable.h"

#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

using namespace mlir::tbq;
using nlohmann::json;

namespace {

const char *const kFamilies[] = {"plain", "avx2", "vnni", "amx", "dotprod"};

std::string readText(const std::string &name) {
  std::ifstream file(std::string(TBQ_TABLES) + "/" + name + ".json");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

CpuTable makeTable() {
  CpuTable table;
  table.family = "a family";
  table.instructions = "vnni";
  table.measuredOn = "a machine";
  table.threads = 2;
  table.roofline = {33.5, 1250, 27.25, 900};
  return table;
}

/// What is said of a table that `change` did something to.
std::string refusal(const std::function<void(json &)> &change) {
  json root = json::parse(printCpuTable(makeTable()));
  change(root);
  auto table = parseCpuTable(root.dump(), "t.json");
  return table ? "accepted" : table.error().message;
}

TEST(CpuTable, EachFamilyHasATable) {
  for (const char *name : kFamilies) {
    std::string text = readText(name);
    auto table = parseCpuTable(text, name);
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(table->instructions, name);
    EXPECT_EQ(printCpuTable(*table), text);
    EXPECT_EQ(printCpuTable(shippedCpuTable(name)), text);
  }
}

TEST(CpuTable, AProcessorMayHaveItsOwn) {
  std::string text = readText("zen4");
  const CpuTable &zen4 = shippedCpuTable("vnni", "znver4");
  EXPECT_EQ(printCpuTable(zen4), text);
  EXPECT_EQ(zen4.processor, "znver4");
  // Not without the instructions it is measured with, nor for another.
  EXPECT_EQ(shippedCpuTable("avx2", "znver4").processor, "");
  EXPECT_EQ(shippedCpuTable("avx2", "znver4").instructions, "avx2");
  EXPECT_EQ(printCpuTable(shippedCpuTable("vnni", "znver5")), readText("vnni"));
}

TEST(CpuTable, WhatIsPrintedIsRead) {
  CpuTable table = makeTable();
  table.processor = "a processor";
  // Each number its own, so that none stands for another.
  for (const TuningField &field : tuningFields()) {
    int64_t number = field.least;
    while (!field.allows(number) || number == table.tuning.*field.value)
      ++number;
    table.tuning.*field.value = number;
    auto again = parseCpuTable(printCpuTable(table), "t.json");
    ASSERT_TRUE(again) << again.error().message;
    for (const TuningField &other : tuningFields())
      EXPECT_EQ(again->tuning.*other.value, table.tuning.*other.value)
          << other.name();
    EXPECT_EQ(again->family, "a family");
    EXPECT_EQ(again->processor, "a processor");
    EXPECT_EQ(again->instructions, "vnni");
    EXPECT_EQ(again->measuredOn, "a machine");
    EXPECT_EQ(again->threads, 2);
    EXPECT_EQ(again->roofline.read, 33.5);
    EXPECT_EQ(again->roofline.peak, 1250);
    EXPECT_EQ(again->roofline.decode, 27.25);
    EXPECT_EQ(again->roofline.prefill, 900);
  }
}

TEST(CpuTable, FiguresMayBeMissing) {
  CpuTable table = makeTable();
  table.roofline = Roofline();
  auto again = parseCpuTable(printCpuTable(table), "t.json");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_FALSE(again->roofline.isKnown());
}

TEST(CpuTable, EachNumberHasARange) {
  for (const TuningField &field : tuningFields()) {
    const std::string wanted =
        "t.json: " + field.name() + ": must be " + field.describe() + " (got ";
    for (json bad : {json(field.least - 1), json(field.most + 1), json("8"),
                     json(2.5), json(), json::array({8})}) {
      std::string said =
          refusal([&](json &root) { root[field.section][field.key] = bad; });
      EXPECT_EQ(said.compare(0, wanted.size(), wanted), 0) << said;
    }
    std::string said =
        refusal([&](json &root) { root[field.section].erase(field.key); });
    EXPECT_EQ(said, wanted + "nothing)");
  }
}

TEST(CpuTable, NumbersThatKernelsCannotHave) {
  auto set = [](const char *section, const char *key, int64_t number) {
    return refusal([&](json &root) { root[section][key] = number; });
  };
  EXPECT_EQ(set("decode", "far_bytes", 100),
            "t.json: decode.far_bytes: must be 0 to 65536, a multiple of 64 "
            "(got 100)");
  EXPECT_EQ(set("prefill", "block_tokens", 72),
            "t.json: prefill.block_tokens: must be 16 to 1024, a multiple of "
            "16 (got 72)");
  EXPECT_EQ(set("prefill", "token_tile", 6),
            "t.json: prefill.token_tile: must be 2 to 8, a power of two (got "
            "6)");
}

TEST(CpuTable, SumsAreLookedUpByAvx512) {
  for (const char *instructions : {"plain", "avx2", "vnni", "amx", "dotprod"}) {
    std::string said = refusal([&](json &root) {
      root["instructions"] = instructions;
      root["decode"]["triple_columns"] = 128;
    });
    EXPECT_EQ(said, looksUp(instructions)
                        ? "accepted"
                        : "t.json: decode.triple_columns: is not 0, and " +
                              std::string(instructions) +
                              " has no instruction for it (vnni and amx have)");
  }
}

TEST(CpuTable, NoKeyIsUnknown) {
  EXPECT_EQ(refusal([](json &root) { root["decod"] = 1; }),
            "t.json: decod: is not known (expected: format, family, "
            "instructions, processor, decode, prefill, measured)");
  EXPECT_EQ(refusal([](json &root) { root["decode"]["far"] = 1; }),
            "t.json: decode.far: is not known (expected: far_bytes, "
            "near_bytes, panel_bytes, triple_columns, triple_weights, "
            "cache_bytes, unrolled_steps)");
  EXPECT_EQ(refusal([](json &root) { root["measured"]["date"] = 1; }),
            "t.json: measured.date: is not known (expected: on, threads, "
            "read_gb_per_second, peak_gop_per_second, decode_gb_per_second, "
            "prefill_gop_per_second)");
}

TEST(CpuTable, EveryPartIsThere) {
  auto without = [](const char *key) {
    return refusal([&](json &root) { root.erase(key); });
  };
  EXPECT_EQ(without("measured"), "accepted");
  for (const char *key :
       {"format", "family", "instructions", "decode", "prefill"})
    EXPECT_EQ(without(key).find(std::string("t.json: ") + key + ": must be"),
              0u)
        << without(key);
  EXPECT_EQ(refusal([](json &root) { root["format"] = 2; }),
            "t.json: format: must be an integer in [1, 1] (got 2)");
  EXPECT_EQ(refusal([](json &root) { root["instructions"] = "sse"; }),
            "t.json: instructions: must be plain, avx2, vnni, amx or dotprod "
            "(got \"sse\")");
  EXPECT_EQ(refusal([](json &root) { root["measured"] = 3; }),
            "t.json: measured: must be an object (got 3)");
  EXPECT_EQ(
      refusal([](json &root) { root["measured"]["peak_gop_per_second"] = 0; }),
      "t.json: measured.peak_gop_per_second: must be more than 0 (got 0)");
  EXPECT_EQ(refusal([](json &root) { root["measured"]["threads"] = 0; }),
            "t.json: measured.threads: must be an integer in [1, 1024] (got "
            "0)");
}

/// Wherever a file was cut off, it is none.
TEST(CpuTable, TruncatedFiles) {
  const std::string text = readText("amx");
  for (size_t size = 0; size + 2 < text.size(); ++size) {
    auto table = parseCpuTable(text.substr(0, size), "t.json");
    ASSERT_FALSE(table) << size;
    EXPECT_EQ(table.error().message.find("t.json: invalid JSON at byte "), 0u)
        << table.error().message;
  }
}

TEST(CpuTable, OtherFiles) {
  auto said = [](const std::string &text) {
    return parseCpuTable(text, "t.json").error().message;
  };
  EXPECT_EQ(said("[1]"), "t.json: must be an object (got an array of 1)");
  EXPECT_EQ(said(std::string(70000, ' ')),
            "t.json: JSON of 70000 bytes, more than the limit of 65536");
  EXPECT_NE(readCpuTable("/absent.json").error().message.find("absent.json"),
            std::string::npos);
}

} // namespace
