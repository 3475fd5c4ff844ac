// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// UTF-8 repair, classes and normal forms.
#include "runtime/Unicode.h"

#include <chrono>
#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::unicode;

static std::string repaired(std::string_view bytes) {
  std::string out;
  appendValidUtf8(out, bytes, /*last=*/true);
  return out;
}

TEST(Unicode, RepairReplacesMaximalParts) {
  EXPECT_EQ(repaired("aé€😀"), "aé€😀");
  EXPECT_EQ(repaired("\xff\xfe"), "\ufffd\ufffd");
  EXPECT_EQ(repaired("\xe2\x82z"), "\ufffdz");
  EXPECT_EQ(repaired("\xf0\x9f\x98"), "\ufffd");
  EXPECT_EQ(repaired("\xed\xa0\x80"), "\ufffd\ufffd\ufffd"); // a surrogate
  EXPECT_EQ(repaired("\xc0\xaf"), "\ufffd\ufffd");           // overlong
  EXPECT_EQ(repaired("\xf4\x90\x80\x80"), "\ufffd\ufffd\ufffd\ufffd");
}

TEST(Unicode, CutOffSequencesWait) {
  std::string out;
  EXPECT_EQ(appendValidUtf8(out, "a\xe2\x82", /*last=*/false), 1u);
  EXPECT_EQ(out, "a");
  EXPECT_EQ(appendValidUtf8(out, "\xe2z", /*last=*/false), 2u);
  EXPECT_EQ(out, "a\ufffdz");
}

TEST(Unicode, EncodesWhatItDecodes) {
  for (uint32_t c :
       {0x24u, 0x7fu, 0x80u, 0x7ffu, 0x800u, 0xffffu, 0x10000u, 0x10ffffu}) {
    std::string text;
    append(text, c);
    EXPECT_TRUE(isValidUtf8(text));
    EXPECT_EQ(decodeAt(text, 0).codePoint, c);
    EXPECT_EQ(decodeBefore(text, text.size()).bytes, text.size());
  }
}

TEST(Unicode, Classes) {
  EXPECT_EQ(classOf('Z'), Class::letter);
  EXPECT_EQ(classOf('['), Class::other);
  EXPECT_EQ(classOf('9'), Class::number);
  EXPECT_EQ(classOf(':'), Class::other);
  EXPECT_EQ(classOf(0x4e00), Class::letter);
  EXPECT_EQ(classOf(0xbd), Class::number);
  EXPECT_EQ(classOf(0x3000), Class::space);
  EXPECT_EQ(classOf(0x180e), Class::other); // no longer white space
  EXPECT_EQ(classOf(0x0301), Class::other);
  EXPECT_EQ(classOf(0x2ebf0), Class::letter); // since Unicode 15.1
}

TEST(Unicode, NormalForms) {
  EXPECT_EQ(normalize("e\u0301", NormalForm::nfc), "é");
  EXPECT_EQ(normalize("é", NormalForm::nfd), "e\u0301");
  EXPECT_EQ(normalize("ﬁ①", NormalForm::nfkc), "fi1");
  EXPECT_EQ(normalize("ﬁ", NormalForm::nfc), "ﬁ");
  EXPECT_EQ(normalize("a\u0307\u0323", NormalForm::nfd), "a\u0323\u0307");
  EXPECT_EQ(normalize("각", NormalForm::nfd), "\u1100\u1161\u11a8");
  EXPECT_EQ(normalize("\u1100\u1161\u11a8", NormalForm::nfkc), "각");
  EXPECT_EQ(lowercase("ÀİΣ"), "ài\u0307σ");
}

TEST(Unicode, ManyMarksAreNotQuadratic) {
  std::string text = "a";
  for (int i = 0; i < 200000; ++i)
    text += i % 2 ? "\u0301" : "\u0323";
  auto start = std::chrono::steady_clock::now();
  std::string ordered = normalize(text, NormalForm::nfd);
  std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - start;
  EXPECT_EQ(ordered.substr(0, 5), "a\u0323\u0323");
  EXPECT_EQ(ordered.size(), text.size());
  EXPECT_LT(seconds.count(), 5);
}
