// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Input: cpuid and xgetbv on x86-64, the kernel's hwcap words on aarch64.
// Output: LLVM feature names. A table row is one name and the register bit that
// announces it; a feature with register state counts only if the operating
// system saves that state.
#include "format/Cpu.h"

#include <algorithm>
#include <elf.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace tbq {

#if defined(__x86_64__)

namespace {

enum Word : uint8_t {
  L1Ecx,
  L1Edx,
  L7Ebx,
  L7Ecx,
  L7Edx,
  L7s1Eax,
  L7s1Edx,
  LDs1Eax,
  L14Ebx,
  E1Ecx,
  E1Edx,
  E8Ebx,
  WordCount
};

/// Register state the operating system must save for a feature to be usable.
enum class State : uint8_t { None, Avx, Avx512, Amx };

struct FeatureBit {
  const char *name;
  Word word;
  uint8_t bit;
  State state;
};

// The names and bits of LLVM's sys::getHostCPUFeatures (TargetParser/Host.cpp).
constexpr FeatureBit featureBits[] = {
    {"cx8", L1Edx, 8, State::None},
    {"cmov", L1Edx, 15, State::None},
    {"mmx", L1Edx, 23, State::None},
    {"fxsr", L1Edx, 24, State::None},
    {"sse", L1Edx, 25, State::None},
    {"sse2", L1Edx, 26, State::None},
    {"sse3", L1Ecx, 0, State::None},
    {"pclmul", L1Ecx, 1, State::None},
    {"ssse3", L1Ecx, 9, State::None},
    {"fma", L1Ecx, 12, State::Avx},
    {"cx16", L1Ecx, 13, State::None},
    {"sse4.1", L1Ecx, 19, State::None},
    {"sse4.2", L1Ecx, 20, State::None},
    {"crc32", L1Ecx, 20, State::None},
    {"movbe", L1Ecx, 22, State::None},
    {"popcnt", L1Ecx, 23, State::None},
    {"aes", L1Ecx, 25, State::None},
    {"xsave", L1Ecx, 26, State::Avx},
    {"avx", L1Ecx, 28, State::Avx},
    {"f16c", L1Ecx, 29, State::Avx},
    {"rdrnd", L1Ecx, 30, State::None},
    {"sahf", E1Ecx, 0, State::None},
    {"lzcnt", E1Ecx, 5, State::None},
    {"sse4a", E1Ecx, 6, State::None},
    {"prfchw", E1Ecx, 8, State::None},
    {"xop", E1Ecx, 11, State::Avx},
    {"fma4", E1Ecx, 16, State::Avx},
    {"tbm", E1Ecx, 21, State::None},
    {"mwaitx", E1Ecx, 29, State::None},
    {"64bit", E1Edx, 29, State::None},
    {"clzero", E8Ebx, 0, State::None},
    {"rdpru", E8Ebx, 4, State::None},
    {"wbnoinvd", E8Ebx, 9, State::None},
    {"fsgsbase", L7Ebx, 0, State::None},
    {"sgx", L7Ebx, 2, State::None},
    {"bmi", L7Ebx, 3, State::None},
    {"avx2", L7Ebx, 5, State::Avx},
    {"bmi2", L7Ebx, 8, State::None},
    {"invpcid", L7Ebx, 10, State::None},
    {"rtm", L7Ebx, 11, State::None},
    {"avx512f", L7Ebx, 16, State::Avx512},
    {"avx512dq", L7Ebx, 17, State::Avx512},
    {"rdseed", L7Ebx, 18, State::None},
    {"adx", L7Ebx, 19, State::None},
    {"avx512ifma", L7Ebx, 21, State::Avx512},
    {"clflushopt", L7Ebx, 23, State::None},
    {"clwb", L7Ebx, 24, State::None},
    {"avx512cd", L7Ebx, 28, State::Avx512},
    {"sha", L7Ebx, 29, State::None},
    {"avx512bw", L7Ebx, 30, State::Avx512},
    {"avx512vl", L7Ebx, 31, State::Avx512},
    {"avx512vbmi", L7Ecx, 1, State::Avx512},
    {"pku", L7Ecx, 4, State::None},
    {"waitpkg", L7Ecx, 5, State::None},
    {"avx512vbmi2", L7Ecx, 6, State::Avx512},
    {"shstk", L7Ecx, 7, State::None},
    {"gfni", L7Ecx, 8, State::None},
    {"vaes", L7Ecx, 9, State::Avx},
    {"vpclmulqdq", L7Ecx, 10, State::Avx},
    {"avx512vnni", L7Ecx, 11, State::Avx512},
    {"avx512bitalg", L7Ecx, 12, State::Avx512},
    {"avx512vpopcntdq", L7Ecx, 14, State::Avx512},
    {"rdpid", L7Ecx, 22, State::None},
    {"cldemote", L7Ecx, 25, State::None},
    {"movdiri", L7Ecx, 27, State::None},
    {"movdir64b", L7Ecx, 28, State::None},
    {"enqcmd", L7Ecx, 29, State::None},
    {"uintr", L7Edx, 5, State::None},
    {"avx512vp2intersect", L7Edx, 8, State::Avx512},
    {"serialize", L7Edx, 14, State::None},
    {"tsxldtrk", L7Edx, 16, State::None},
    {"pconfig", L7Edx, 18, State::None},
    {"amx-bf16", L7Edx, 22, State::Amx},
    {"avx512fp16", L7Edx, 23, State::Avx512},
    {"amx-tile", L7Edx, 24, State::Amx},
    {"amx-int8", L7Edx, 25, State::Amx},
    {"sha512", L7s1Eax, 0, State::Avx},
    {"sm3", L7s1Eax, 1, State::Avx},
    {"sm4", L7s1Eax, 2, State::Avx},
    {"raoint", L7s1Eax, 3, State::None},
    {"avxvnni", L7s1Eax, 4, State::Avx},
    {"avx512bf16", L7s1Eax, 5, State::Avx512},
    {"cmpccxadd", L7s1Eax, 7, State::None},
    {"amx-fp16", L7s1Eax, 21, State::Amx},
    {"hreset", L7s1Eax, 22, State::None},
    {"avxifma", L7s1Eax, 23, State::Avx},
    {"avxvnniint8", L7s1Edx, 4, State::Avx},
    {"avxneconvert", L7s1Edx, 5, State::Avx},
    {"amx-complex", L7s1Edx, 8, State::Amx},
    {"avxvnniint16", L7s1Edx, 10, State::Avx},
    {"prefetchi", L7s1Edx, 14, State::None},
    {"usermsr", L7s1Edx, 15, State::None},
    {"xsaveopt", LDs1Eax, 0, State::Avx},
    {"xsavec", LDs1Eax, 1, State::Avx},
    {"xsaves", LDs1Eax, 3, State::Avx},
    {"ptwrite", L14Ebx, 4, State::None},
};

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  // Checks the leaf against the processor's highest one; zeros beyond it.
  if (!__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx))
    return {};
  return r;
}

/// Which register state the operating system saves (XCR0).
uint64_t savedState(uint32_t leaf1Ecx) {
  if (!(leaf1Ecx >> 27 & 1))
    return 0;
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

} // namespace

const char *hostArchitecture() { return "x86_64"; }
uint16_t hostElfMachine() { return EM_X86_64; }

std::vector<std::string> hostFeatures() {
  uint32_t words[WordCount] = {};
  Registers leaf1 = cpuid(1, 0), leaf7 = cpuid(7, 0), leaf7s1;
  if (leaf7.eax >= 1)
    leaf7s1 = cpuid(7, 1);
  words[L1Ecx] = leaf1.ecx;
  words[L1Edx] = leaf1.edx;
  words[L7Ebx] = leaf7.ebx;
  words[L7Ecx] = leaf7.ecx;
  words[L7Edx] = leaf7.edx;
  words[L7s1Eax] = leaf7s1.eax;
  words[L7s1Edx] = leaf7s1.edx;
  words[LDs1Eax] = cpuid(0xd, 1).eax;
  words[L14Ebx] = cpuid(0x14, 0).ebx;
  words[E1Ecx] = cpuid(0x80000001, 0).ecx;
  words[E1Edx] = cpuid(0x80000001, 0).edx;
  words[E8Ebx] = cpuid(0x80000008, 0).ebx;

  uint64_t saved = savedState(leaf1.ecx);
  auto isSaved = [&](uint64_t mask) { return (saved & mask) == mask; };
  bool avx = isSaved(0x6) && (leaf1.ecx >> 28 & 1);
  bool avx512 = avx && isSaved(0xe0);
  bool amx = isSaved(0x60000);

  std::vector<std::string> features;
  for (const FeatureBit &f : featureBits) {
    bool stateSaved =
        f.state == State::None || (f.state == State::Avx && avx) ||
        (f.state == State::Avx512 && avx512) || (f.state == State::Amx && amx);
    if (stateSaved && (words[f.word] >> f.bit & 1))
      features.push_back(f.name);
  }
  std::sort(features.begin(), features.end());
  return features;
}

std::vector<std::string>
requestFeatures(const std::vector<std::string> &needed) {
  std::vector<std::string> refused;
  for (const std::string &name : needed)
    if (name.rfind("amx-", 0) == 0)
      refused.push_back(name);
  // From the kernel's asm/prctl.h, which older systems lack.
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  if (!refused.empty() &&
      syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0)
    refused.clear();
  return refused;
}

#elif defined(__aarch64__)

const char *hostArchitecture() { return "aarch64"; }
uint16_t hostElfMachine() { return EM_AARCH64; }

std::vector<std::string> hostFeatures() {
  struct FeatureBit {
    const char *name;
    bool second; // of the two hwcap words
    uint8_t bit;
  };
  // Bits of the kernel's asm/hwcap.h; names of LLVM's AArch64 features.
  constexpr FeatureBit featureBits[] = {
      {"fp-armv8", false, 0}, {"neon", false, 1},     {"aes", false, 3},
      {"crc", false, 7},      {"lse", false, 8},      {"fullfp16", false, 9},
      {"rdm", false, 12},     {"jsconv", false, 13},  {"complxnum", false, 14},
      {"rcpc", false, 15},    {"ccpp", false, 16},    {"sha3", false, 17},
      {"sm4", false, 19},     {"dotprod", false, 20}, {"sve", false, 22},
      {"fp16fml", false, 23}, {"dit", false, 24},     {"rcpc-immo", false, 26},
      {"flagm", false, 27},   {"sha2", false, 6},     {"sve2", true, 1},
      {"i8mm", true, 13},     {"bf16", true, 14},     {"sme", true, 23},
  };
  unsigned long words[] = {getauxval(AT_HWCAP), getauxval(AT_HWCAP2)};
  std::vector<std::string> features;
  for (const FeatureBit &f : featureBits)
    if (words[f.second] >> f.bit & 1)
      features.push_back(f.name);
  std::sort(features.begin(), features.end());
  return features;
}

#else

const char *hostArchitecture() { return "unknown"; }
uint16_t hostElfMachine() { return EM_NONE; }
std::vector<std::string> hostFeatures() { return {}; }

#endif

#if !defined(__x86_64__)
std::vector<std::string> requestFeatures(const std::vector<std::string> &) {
  return {};
}
#endif

std::vector<std::string>
missingFeatures(const std::vector<std::string> &needed) {
  std::vector<std::string> have = hostFeatures(), missing;
  for (const std::string &name : needed)
    if (!std::binary_search(have.begin(), have.end(), name))
      missing.push_back(name);
  return missing;
}

bool hostHasFeature(const std::string &name) {
  return missingFeatures({name}).empty();
}

} // namespace tbq
