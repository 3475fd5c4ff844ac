// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Features by LLVM's names agree with what the compiler's own run-time check
// and the kernel say of this machine; unknown names are missing.
#include "format/Cpu.h"

#include <gtest/gtest.h>

using namespace tbq;

TEST(Cpu, UnknownFeaturesAreMissing) {
  std::vector<std::string> needed = hostFeatures();
  EXPECT_TRUE(missingFeatures(needed).empty());
  needed.insert(needed.begin(), "avx99");
  needed.push_back("");
  EXPECT_EQ(missingFeatures(needed), std::vector<std::string>({"avx99", ""}));
}

#if defined(__x86_64__)
TEST(Cpu, AgreesWithTheCompilersRuntime) {
#define AGREES(llvmName, builtinName)                                          \
  EXPECT_EQ(hostHasFeature(llvmName), bool(__builtin_cpu_supports(builtinName)))
  AGREES("sse4.2", "sse4.2");
  AGREES("avx", "avx");
  AGREES("avx2", "avx2");
  AGREES("fma", "fma");
  AGREES("bmi2", "bmi2");
  AGREES("avx512f", "avx512f");
  AGREES("avx512bw", "avx512bw");
  AGREES("avx512vl", "avx512vl");
  AGREES("avx512vnni", "avx512vnni");
  AGREES("avx512vbmi", "avx512vbmi");
  AGREES("avx512bf16", "avx512bf16");
  AGREES("avx512fp16", "avx512fp16");
  AGREES("avxvnni", "avxvnni");
#undef AGREES
  EXPECT_TRUE(hostHasFeature("sse2"));
  EXPECT_STREQ(hostArchitecture(), "x86_64");
}
#endif
