// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which cubin of several runs on a GPU.
#include "runtime/CudaKernels.h"

#include <gtest/gtest.h>

using namespace tbq;

namespace {

std::string find(int major, int minor) {
  Manifest::Target target;
  for (const char *device : {"sm_80", "sm_86", "sm_90a", "sm_100", "gfx90a"})
    target.cubins.push_back({device, 64, 64});
  const auto *cubin = findCubin(target, major, minor);
  return cubin ? cubin->device : "";
}

TEST(CudaKernelsTest, TheLatestOfTheSameMajorVersion) {
  EXPECT_EQ(find(8, 0), "sm_80");
  EXPECT_EQ(find(8, 6), "sm_86");
  EXPECT_EQ(find(8, 9), "sm_86");
  EXPECT_EQ(find(10, 3), "sm_100");
}

TEST(CudaKernelsTest, NoOtherMajorVersion) {
  EXPECT_EQ(find(7, 5), "");
  EXPECT_EQ(find(12, 0), "");
}

TEST(CudaKernelsTest, WithALetterThatOneAlone) {
  EXPECT_EQ(find(9, 0), "sm_90a");
  EXPECT_EQ(find(9, 1), "");
}

} // namespace
