// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// BoundedWriter: what BoundedReader reads, and no byte past the end.
#include "format/BoundedWriter.h"
#include "format/BoundedReader.h"

#include <gtest/gtest.h>

#include <vector>

using namespace tbq;

TEST(BoundedWriter, WritesLittleEndianAtAnyAlignment) {
  std::vector<uint8_t> bytes(12, 0xaa);
  BoundedWriter writer(bytes.data(), bytes.size());
  EXPECT_TRUE(writer.write<int8_t>(-1));
  EXPECT_TRUE(writer.write<uint32_t>(0x04030201));
  EXPECT_TRUE(writer.write<int16_t>(-2));
  EXPECT_TRUE(writer.writeString("hi"));
  EXPECT_TRUE(writer.seek(10));
  EXPECT_TRUE(writer.writeBytes(bytes.data(), 2));
  const std::vector<uint8_t> expected = {0xff, 1,   2,   3,    4,    0xfe,
                                         0xff, 'h', 'i', 0xaa, 0xff, 1};
  EXPECT_EQ(bytes, expected);
}

TEST(BoundedWriter, TheReaderReadsIt) {
  uint8_t bytes[15];
  BoundedWriter writer(bytes, sizeof(bytes));
  writer.write(INT64_MIN);
  writer.write(uint32_t(0xfedcba98));
  writer.writeString("abc");
  BoundedReader reader(bytes, sizeof(bytes));
  EXPECT_EQ(reader.read<int64_t>(), INT64_MIN);
  EXPECT_EQ(reader.read<uint32_t>(), 0xfedcba98u);
  EXPECT_EQ(reader.readString(3), "abc");
}

TEST(BoundedWriter, RefusesWhatDoesNotFitAndStays) {
  uint8_t bytes[5] = {9, 9, 9, 9, 9};
  BoundedWriter writer(bytes, 4); // the fifth is not its own
  EXPECT_TRUE(writer.write<uint8_t>(1));
  EXPECT_FALSE(writer.write<uint32_t>(0));
  EXPECT_FALSE(writer.writeBytes(bytes, UINT64_MAX));
  EXPECT_FALSE(writer.writeString("four"));
  EXPECT_FALSE(writer.seek(5));
  EXPECT_EQ(bytes[1], 9);
  EXPECT_TRUE(writer.writeString("all"));
  EXPECT_FALSE(writer.write<uint8_t>(0));
  EXPECT_EQ(bytes[3], 'l');
  EXPECT_EQ(bytes[4], 9);
}
