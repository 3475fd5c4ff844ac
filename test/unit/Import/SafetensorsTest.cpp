// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Crafted safetensors files: every bad one ends in its own one-line error, the
// valid corner cases load.
#include "TemporaryModel.h"

using namespace tbq;

namespace {
struct BadFile {
  const char *name;
  std::string bytes;
  std::string message; // a part of the error
};
} // namespace

static std::string raw(uint64_t length, const std::string &rest) {
  std::string bytes;
  for (int i = 0; i < 8; ++i)
    bytes += static_cast<char>(length >> (8 * i));
  return bytes + rest;
}

/// One tensor "t" with these fields and `size` bytes of data.
static std::string one(const std::string &fields, size_t size) {
  return safetensorsBytes("{\"t\":{" + fields + "}}", std::string(size, 'd'));
}

/// Tensors "a" and "b", U8, at these offsets.
static std::string two(const std::string &a, const std::string &b,
                       size_t size) {
  auto bytesOf = [](const std::string &range) {
    size_t comma = range.find(',');
    return std::to_string(std::stoll(range.substr(comma + 1)) -
                          std::stoll(range));
  };
  return safetensorsBytes("{\"a\":{\"dtype\":\"U8\",\"shape\":[" + bytesOf(a) +
                              "],\"data_offsets\":[" + a +
                              "]},\"b\":{\"dtype\":\"U8\",\"shape\":[" +
                              bytesOf(b) + "],\"data_offsets\":[" + b + "]}}",
                          std::string(size, 'd'));
}

static std::vector<BadFile> damagedHeaders() {
  using namespace std::string_literals;
  return {
      {"empty", "", "too short"},
      {"seven_bytes", "1234567", "too short"},
      {"only_length_zero", raw(0, ""), "does not start with '{'"},
      {"length_beyond_file", raw(3, "{}"), "goes beyond the file's 10 bytes"},
      {"length_all_ones", raw(UINT64_MAX, "{}"), "18446744073709551615"},
      {"length_wraps_with_8", raw(UINT64_MAX - 7, "{}"), "more than the limit"},
      {"length_over_limit", raw(100'000'001, "{}"), "more than the limit"},
      {"length_at_limit", raw(100'000'000, "{}"), "goes beyond"},
      {"leading_space", safetensorsBytes(" {}", ""), "does not start with"},
      {"array_root", safetensorsBytes("[]", ""), "does not start with"},
      {"byte_order_mark", safetensorsBytes("\xef\xbb\xbf{}", ""),
       "does not start with"},
      {"pickle", "\x80\x02}q\x01.........", "not a safetensors file?"},
      {"open_brace", safetensorsBytes("{", ""), "invalid JSON at byte"},
      {"text_after", safetensorsBytes("{}{}", ""), "invalid JSON at byte"},
      {"nul_after", safetensorsBytes("{}\0{"s, ""), "invalid JSON at byte 2"},
      {"not_utf8", safetensorsBytes("{\"\xff\":1}", ""), "invalid JSON"},
      {"deep", safetensorsBytes("{\"t\":" + std::string(100'000, '['), ""),
       "nested deeper than 64"},
      {"duplicate_tensor",
       safetensorsBytes("{\"t\":{\"dtype\":\"U8\",\"shape\":[1],"
                        "\"data_offsets\":[0,1]},\"t\":{\"dtype\":\"U8\","
                        "\"shape\":[1],\"data_offsets\":[0,1]}}",
                        "d"),
       "duplicate key \"t\""},
      {"duplicate_metadata",
       safetensorsBytes("{\"__metadata__\":{},\"__metadata__\":{}}", ""),
       "duplicate key"},
      {"metadata_number", safetensorsBytes("{\"__metadata__\":{\"a\":1}}", ""),
       "__metadata__.a: must be a string (got 1)"},
      {"metadata_list", safetensorsBytes("{\"__metadata__\":[]}", ""),
       "__metadata__: must be an object"},
      {"tensor_null", safetensorsBytes("{\"t\":null}", ""),
       "t: must be an object (got null)"},
  };
}

static std::vector<BadFile> damagedTensors() {
  return {
      {"no_dtype", one("\"shape\":[1],\"data_offsets\":[0,1]", 1), "t.dtype"},
      {"no_shape", one("\"dtype\":\"U8\",\"data_offsets\":[0,1]", 1),
       "t.shape: must be an array (got nothing)"},
      {"no_offsets", one("\"dtype\":\"U8\",\"shape\":[1]", 1),
       "t.data_offsets"},
      {"extra_field",
       one("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1", 1),
       "t.x: unknown field"},
      {"duplicate_field",
       one("\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],"
           "\"data_offsets\":[0,1]",
           1),
       "duplicate key \"dtype\""},
      {"unknown_dtype",
       one("\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]", 1),
       "unsupported element type 'F4'"},
      {"lower_case_dtype",
       one("\"dtype\":\"u8\",\"shape\":[1],\"data_offsets\":[0,1]", 1), "'u8'"},
      {"negative_dimension",
       one("\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]", 1),
       "(got -1)"},
      {"float_dimension",
       one("\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]", 1),
       "(got 1.0)"},
      {"string_dimension",
       one("\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]", 1),
       "(got \"1\")"},
      {"dimension_beyond_64_bits",
       one("\"dtype\":\"U8\",\"shape\":[9223372036854775808],"
           "\"data_offsets\":[0,1]",
           1),
       "(got 9223372036854775808)"},
      {"product_wraps_to_zero",
       one("\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],"
           "\"data_offsets\":[0,0]",
           0),
       "takes more than 2^64"},
      {"bytes_wrap_to_four",
       one("\"dtype\":\"F32\",\"shape\":[4611686018427387905],"
           "\"data_offsets\":[0,4]",
           4),
       "takes more than 2^64"},
      {"zero_hides_a_wrap",
       one("\"dtype\":\"U8\",\"shape\":[0,4294967296,4294967296],"
           "\"data_offsets\":[0,0]",
           0),
       "takes more than 2^64"},
      {"shape_larger_than_offsets",
       one("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]", 4),
       "span 4 bytes, but F32 [2] takes 8"},
      {"shape_smaller_than_offsets",
       one("\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,8]", 8),
       "span 8 bytes, but F32 [] takes 4"},
      {"offsets_reversed",
       one("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]", 1),
       "begin <= end (got [1, 0])"},
      {"one_offset",
       one("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1]", 1),
       "(got [1])"},
      {"three_offsets",
       one("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]", 1),
       "(got [0, 1, 1])"},
      {"negative_offset",
       one("\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[-1,1]", 1),
       "(got -1)"},
      {"offset_beyond_file",
       one("\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]", 1),
       "end at 2, beyond the 1 bytes of data: the file is truncated"},
      {"offset_beyond_memory",
       one("\"dtype\":\"U8\",\"shape\":[1],"
           "\"data_offsets\":[9223372036854775806,9223372036854775807]",
           1),
       "beyond the 1 bytes"},
      {"hole_at_start",
       one("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]", 2),
       "begin at 1, a hole after 0"},
      {"hole_between", two("0,2", "3,4", 4), "begin at 3, a hole after 2"},
      {"overlap", two("0,3", "2,4", 4), "begin at 2, an overlap"},
      {"same_range_twice", two("0,2", "0,2", 2), "begin at 0, an overlap"},
      {"inside_another", two("0,4", "1,2", 4), "an overlap"},
      {"bytes_left_over", two("0,1", "1,2", 3),
       "describes 2 bytes of data, the file has 3"},
      {"data_without_tensors", safetensorsBytes("{}", "d"),
       "describes 0 bytes of data, the file has 1"},
      {"shape_of_a_megabyte",
       one(
           "\"dtype\":\"U8\",\"shape\":[1" +
               [] {
                 std::string ones;
                 for (int i = 0; i < 400'000; ++i)
                   ones += ",1";
                 return ones;
               }() +
               "],\"data_offsets\":[0,2]",
           2),
       "span 2 bytes"},
      {"line_break_in_name",
       safetensorsBytes("{\"a\\nb\":{\"dtype\":\"X\",\"shape\":[],"
                        "\"data_offsets\":[0,0]}}",
                        ""),
       "a\\x0ab.dtype: unsupported"},
  };
}

TEST(Safetensors, BadFilesAreRefused) {
  TemporaryModel model;
  model.writeConfig();
  auto files = damagedHeaders();
  for (BadFile &file : damagedTensors())
    files.push_back(std::move(file));
  EXPECT_GE(files.size(), 30u);
  for (const BadFile &file : files) {
    model.write("model.safetensors", file.bytes);
    EXPECT_TRUE(isErrorAbout(
        model.failure(), model.path() + "/model.safetensors: ", file.message))
        << file.name;
  }
}

TEST(Safetensors, EveryTruncationIsRefused) {
  TemporaryModel model;
  model.writeConfig();
  TestTensors tensors{{"model.norm.weight", floatTensor({8})},
                      {"lm_head.weight", floatTensor({3})}};
  std::string whole = safetensorsBytes(tensors);
  model.write("model.safetensors", whole);
  ASSERT_EQ(model.failure(), "");
  for (size_t size = 0; size < whole.size(); ++size) {
    model.write("model.safetensors", whole.substr(0, size));
    ASSERT_TRUE(isErrorAbout(model.failure(),
                             model.path() + "/model.safetensors: ", ""))
        << size;
  }
}

TEST(Safetensors, ValidCornerCasesLoad) {
  TemporaryModel model;
  model.writeConfig();
  // Spaces after the header, metadata, a scalar, empty tensors between others,
  // an odd offset for F32, and names not in the order of their data.
  model.write("model.safetensors",
              safetensorsBytes(
                  R"({"__metadata__":{"format":"pt"},
"lm_head.a":{"dtype":"F32","shape":[],"data_offsets":[1,5]},
"lm_head.b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
"lm_head.c":{"dtype":"F64","shape":[0],"data_offsets":[1,1]},
"lm_head.d":{"dtype":"BF16","shape":[7,0,9],"data_offsets":[5,5]},
"lm_head.e":{"dtype":"BF16","shape":[2,1],"data_offsets":[5,9]}}   )",
                  std::string("\x07\x00\x00\xc0\x3f\x80\x3f\x00\xc0", 9)));
  auto checkpoint = Checkpoint::open(model.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 5u);
  float values[2];
  readFloats(*checkpoint->find("lm_head.a"), 0, 1, values);
  EXPECT_EQ(values[0], 1.5f);
  readFloats(*checkpoint->find("lm_head.e"), 0, 2, values);
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], -2.0f);
  EXPECT_EQ(checkpoint->find("lm_head.d")->elements(), 0);
  EXPECT_EQ(checkpoint->find("lm_head.b")->data[0], 7);
  EXPECT_EQ(checkpoint->find("lm_head"), nullptr);
}

TEST(Safetensors, EveryElementType) {
  TemporaryModel model;
  model.writeConfig();
  TestTensors tensors;
  for (auto [dtype, size] :
       std::vector<std::pair<const char *, int>>{{"BOOL", 1},
                                                 {"U8", 1},
                                                 {"I8", 1},
                                                 {"F8_E5M2", 1},
                                                 {"F8_E4M3", 1},
                                                 {"I16", 2},
                                                 {"U16", 2},
                                                 {"F16", 2},
                                                 {"BF16", 2},
                                                 {"I32", 4},
                                                 {"U32", 4},
                                                 {"F32", 4},
                                                 {"I64", 8},
                                                 {"U64", 8},
                                                 {"F64", 8}})
    tensors[std::string("lm_head.") + dtype] = {
        dtype, {3}, std::string(3 * static_cast<size_t>(size), '\0')};
  model.write("model.safetensors", safetensorsBytes(tensors));
  auto checkpoint = Checkpoint::open(model.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  for (const auto &[name, tensor] : tensors) {
    const TensorView *view = checkpoint->find(name);
    ASSERT_NE(view, nullptr);
    EXPECT_EQ(dtypeName(view->dtype), tensor.dtype);
    EXPECT_EQ(view->elements(), 3);
  }
}
