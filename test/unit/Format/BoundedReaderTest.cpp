// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// BoundedReader: little-endian values, and no read past the end.
#include "format/BoundedReader.h"

#include <gtest/gtest.h>

using namespace tbq;

TEST(BoundedReader, ReadsLittleEndianAtAnyAlignment) {
  const uint8_t bytes[] = {0xff, 0x01, 0x02, 0x03, 0x04, 0xfe, 0xff, 'h', 'i'};
  BoundedReader reader(bytes, sizeof(bytes));
  EXPECT_EQ(reader.read<int8_t>(), -1);
  EXPECT_EQ(reader.read<uint32_t>(), 0x04030201u);
  EXPECT_EQ(reader.read<int16_t>(), -2);
  EXPECT_EQ(reader.readString(2), "hi");
  EXPECT_EQ(reader.remaining(), 0u);
}

TEST(BoundedReader, ReadsFloats) {
  const uint8_t bytes[] = {0, 0, 0x20, 0xc1};
  EXPECT_EQ(BoundedReader(bytes, 4).readFloat(), -10.0f);
  EXPECT_FALSE(BoundedReader(bytes, 3).readFloat());
}

TEST(BoundedReader, RefusesWhatDoesNotFitAndStays) {
  const uint8_t bytes[] = {1, 2, 3};
  BoundedReader reader(bytes, sizeof(bytes));
  ASSERT_TRUE(reader.skip(1));
  EXPECT_FALSE(reader.read<uint32_t>());
  EXPECT_FALSE(reader.readBytes(3));
  EXPECT_FALSE(reader.readString(UINT64_MAX));
  EXPECT_FALSE(reader.skip(UINT64_MAX));
  EXPECT_FALSE(reader.seek(4));
  EXPECT_EQ(reader.offset(), 1u);
  EXPECT_EQ(reader.read<uint16_t>(), 0x0302);
  EXPECT_TRUE(reader.seek(3));
  EXPECT_FALSE(reader.read<uint8_t>());
}
