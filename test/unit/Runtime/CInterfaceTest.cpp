// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs the C file that uses the public header.
#include "FakeArtifact.h"

#include <gtest/gtest.h>

using namespace tbq::test;

extern "C" const char *useFromC(const char *good, const char *bad);

TEST(CInterface, WorksFromC) {
  std::string good = FakeArtifact().write("c.so");
  std::string bad = temporaryPath("bad.so");
  writeBytes(bad, std::vector<uint8_t>(1000, 'x'));
  const char *failed = useFromC(good.c_str(), bad.c_str());
  EXPECT_STREQ(failed, nullptr);
}
