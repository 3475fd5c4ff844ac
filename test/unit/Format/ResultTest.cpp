// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Errors stay on one printable line whatever a hostile file puts into them.
#include "format/Result.h"

#include <gtest/gtest.h>
#include <memory>

using namespace tbq;

TEST(Result, HoldsAValueOrAnError) {
  Result<std::unique_ptr<int>> good(std::make_unique<int>(3));
  ASSERT_TRUE(good);
  EXPECT_EQ(**good, 3);
  std::unique_ptr<int> taken = *std::move(good);
  EXPECT_EQ(*taken, 3);
  Result<int> bad(makeError("f", "x", "is wrong"));
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().message, "f: x: is wrong");
  EXPECT_TRUE(Status::ok());
  Status status = makeError("f", "", "is wrong");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "f: is wrong");
}

TEST(Result, ErrorsAreOneShortLine) {
  std::string hostile = "a\nb\x1b[31m" + std::string(1 << 20, 'x');
  std::string message = makeError(hostile, hostile, hostile).message;
  EXPECT_LT(message.size(), 6000u);
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_EQ(message.rfind("a\\x0ab\\x1b[31m", 0), 0u);
}
