// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// JSON from untrusted files: limits, refusals, typed fields and messages.
#include "format/Json.h"

#include <chrono>
#include <gtest/gtest.h>
#include <pthread.h>

using namespace tbq;

static std::string failureOf(const std::string &text) {
  auto parsed = parseJson(text, "f.json");
  return parsed ? "" : parsed.error().message;
}

TEST(Json, NestsUpToTheLimit) {
  EXPECT_EQ(failureOf(std::string(64, '[') + std::string(64, ']')), "");
  EXPECT_EQ(failureOf(std::string(65, '[') + std::string(65, ']')),
            "f.json: JSON nested deeper than 64");
  std::string objects;
  for (int i = 0; i < 65; ++i)
    objects += "{\"a\":";
  EXPECT_EQ(failureOf(objects), "f.json: JSON nested deeper than 64");
}

static void *parseDeep(void *result) {
  std::string deep(1'000'000, '[');
  auto start = std::chrono::steady_clock::now();
  *static_cast<std::string *>(result) = failureOf(deep);
  std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_LT(took.count(), 0.05);
  return nullptr;
}

TEST(Json, MillionDeepOnASmallStack) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, 256 << 10), 0);
  pthread_t thread;
  std::string result;
  ASSERT_EQ(pthread_create(&thread, &attributes, parseDeep, &result), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
  EXPECT_EQ(result, "f.json: JSON nested deeper than 64");
}

TEST(Json, RefusesDuplicateKeysAtAnyDepth) {
  EXPECT_EQ(failureOf(R"({"a":1,"a":1})"), "f.json: duplicate key \"a\"");
  EXPECT_EQ(failureOf(R"([{"b":{"a":1,"\u0061":{}}}])"),
            "f.json: duplicate key \"a\"");
  EXPECT_EQ(failureOf(R"([{"a":1},{"a":2}])"), "");
}

TEST(Json, RefusesWhatIsNotJson) {
  using namespace std::string_literals;
  for (const std::string &text :
       {""s, "{"s, "{}x"s, "{}\0"s, "{\"a\":NaN}"s, "{\"a\":1e999}"s, "[1,]"s,
        "{\"a\":\"\xff\"}"s, "'a'"s, "// c\n{}"s, "nul"s, "{\"a\" 1}"s,
        "[01]"s})
    EXPECT_NE(failureOf(text).find("f.json: invalid JSON at byte "),
              std::string::npos)
        << text;
}

TEST(Json, RefusesTextBeyondTheSizeLimit) {
  auto parsed = parseJson("[1, 2]", "f.json", 5);
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().message,
            "f.json: JSON of 6 bytes, more than the limit of 5");
}

TEST(Json, BuildsTheDocument) {
  auto parsed = parseJson(
      R"({"a":[1,-2,2.5,true,null,"x",[],{}],"b":{"c":{"d":"e"}}})", "f.json");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->dump(),
            R"({"a":[1,-2,2.5,true,null,"x",[],{}],"b":{"c":{"d":"e"}}})");
}

class JsonFields : public testing::Test {
protected:
  JsonFields()
      : document(*parseJson(
            R"({"i":7,"big":18446744073709551615,"f":1.5,"s":"x","t":true,
                "n":null,"l":["a","b"],"m":["a",1],"o":{"i":-1}})",
            "f.json")),
        object(*JsonObject::from(document, "f.json")) {}

  nlohmann::json document;
  JsonObject object;
};

template <class T> static std::string messageOf(const Result<T> &result) {
  return result ? "" : result.error().message;
}

TEST_F(JsonFields, Integers) {
  EXPECT_EQ(*object.integer("i", 7, 7), 7);
  EXPECT_EQ(messageOf(object.integer("i", 8, 9)),
            "f.json: i: must be an integer in [8, 9] (got 7)");
  EXPECT_EQ(messageOf(object.integer("f", 0, 9)),
            "f.json: f: must be an integer in [0, 9] (got 1.5)");
  EXPECT_FALSE(object.integer("big", INT64_MIN, INT64_MAX));
  EXPECT_EQ(messageOf(object.integer("none", 0, 1)),
            "f.json: none: must be an integer in [0, 1] (got nothing)");
  EXPECT_EQ(*object.integerOr("n", 3, 0, 1), 3) << "null means absent";
  EXPECT_FALSE(object.integerOr("s", 3, 0, 1));
}

TEST_F(JsonFields, NumbersBooleansStrings) {
  EXPECT_EQ(*object.number("f", 1.0, 2.0), 1.5);
  EXPECT_EQ(*object.number("i", 1.0, 8.0), 7.0);
  EXPECT_EQ(messageOf(object.number("f", 2.0, 3.0)),
            "f.json: f: must be a number in [2.0, 3.0] (got 1.5)");
  EXPECT_EQ(*object.numberOr("none", 0.5, 0, 1), 0.5);
  EXPECT_TRUE(*object.boolean("t"));
  EXPECT_FALSE(object.boolean("i"));
  EXPECT_TRUE(*object.booleanOr("none", true));
  EXPECT_EQ(*object.string("s"), "x");
  EXPECT_FALSE(object.string("n"));
  EXPECT_EQ(*object.stringOr("n", "y"), "y");
}

TEST_F(JsonFields, ListsAndObjects) {
  EXPECT_EQ(object.strings("l")->size(), 2u);
  EXPECT_EQ(messageOf(object.strings("m")),
            "f.json: m: must hold only strings (got 1)");
  EXPECT_EQ((*object.array("m"))->size(), 2u);
  EXPECT_FALSE(object.array("o"));
  EXPECT_FALSE(object.object("l"));
  auto inner = object.object("o");
  ASSERT_TRUE(inner);
  EXPECT_EQ(messageOf(inner->integer("i", 0, 1)),
            "f.json: o.i: must be an integer in [0, 1] (got -1)");
  EXPECT_EQ(messageOf(JsonObject::from(document["l"], "f.json", "l")),
            "f.json: l: must be an object (got an array of 2)");
}

TEST_F(JsonFields, ReaderKeepsTheFirstFailure) {
  FieldReader fields;
  int64_t first = 0, second = 5;
  fields.set(first, object.integer("i", 0, 9));
  fields.set(second, object.integer("f", 0, 9));
  fields.set(second, object.integer("s", 0, 9));
  EXPECT_EQ(first, 7);
  EXPECT_EQ(second, 5);
  ASSERT_FALSE(fields.status());
  EXPECT_NE(fields.status().error().message.find(": f: "), std::string::npos);
}
