// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From --mtriple, --mcpu, --mattr to a processor: which features it has, and
// which of them a host must have.
// Invariant: an instruction that LLVM may select for the target by itself
// belongs to a feature in `needed` (or to the architecture's baseline).

#include "tbq/Emit.h"

#include "format/Cpu.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/MC/MCSubtargetInfo.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/TargetParser/AArch64TargetParser.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/X86TargetParser.h"

using namespace mlir;
using namespace mlir::tbq;
using llvm::SmallVector;
using llvm::StringRef;
using llvm::Triple;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;

static void initializeTargets() {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  LLVMInitializeAArch64TargetInfo();
  LLVMInitializeAArch64Target();
  LLVMInitializeAArch64TargetMC();
  LLVMInitializeAArch64AsmPrinter();
  LLVMInitializeNVPTXTargetInfo();
  LLVMInitializeNVPTXTarget();
  LLVMInitializeNVPTXTargetMC();
  LLVMInitializeNVPTXAsmPrinter();
}

std::string mlir::tbq::refusedValue(StringRef value,
                                    llvm::ArrayRef<StringRef> valid) {
  auto nearest = llvm::min_element(valid, [&](StringRef a, StringRef b) {
    return value.edit_distance(a) < value.edit_distance(b);
  });
  std::string text = "'" + value.str() + "' is not known";
  if (nearest != valid.end())
    text += " (nearest: '" + nearest->str() + "')";
  return text;
}

//===----------------------------------------------------------------------===//
// What a host must have
//===----------------------------------------------------------------------===//

/// Extensions of x86-64 that LLVM uses only where code asks for them by an
/// intrinsic or that concern the system; our passes ask for none of them, but
/// for AMX tiles of bytes.
static bool isNeverSelectedX86(StringRef name) {
  static const llvm::StringSet<> names = {
      "adx",    "aes",     "cldemote", "clflushopt", "clwb",      "clzero",
      "crc32",  "enqcmd",  "fsgsbase", "fxsr",       "hreset",    "invpcid",
      "kl",     "lwp",     "mmx",      "movdir64b",  "movdiri",   "movrs",
      "mwaitx", "pclmul",  "pconfig",  "pku",        "prefetchi", "ptwrite",
      "rdpid",  "rdpru",   "rdrnd",    "rdseed",     "serialize", "sgx",
      "sha",    "sha512",  "shstk",    "sm3",        "sm4",       "tsxldtrk",
      "uintr",  "usermsr", "vaes",     "vpclmulqdq", "waitpkg",   "wbnoinvd",
      "widekl", "x87",     "xsave",    "xsavec",     "xsaveopt",  "xsaves"};
  bool isTiles = name == "amx-tile" || name == "amx-int8";
  return (name.starts_with("amx-") && !isTiles) || names.contains(name);
}

/// Extensions of aarch64 that concern numbers, atomics or flags: what code
/// like ours can be made of.
static bool isSelectedAArch64(StringRef name) {
  static const llvm::StringSet<> names = {
      "altnzcv",  "bf16",      "complxnum", "cssc",     "dotprod",
      "faminmax", "flagm",     "fp8",       "fp-armv8", "fp16fml",
      "fptoint",  "fullfp16",  "i8mm",      "jsconv",   "lse",
      "lse128",   "lse2",      "lut",       "mops",     "neon",
      "rcpc",     "rcpc-immo", "rcpc3",     "rdm",      "sha3"};
  return name.starts_with("sve") || name.starts_with("sme") ||
         names.contains(name);
}

/// Instruction set extensions, as opposed to hints on how to schedule: all
/// that some x86-64 processor has.
static const llvm::StringSet<> &getX86Extensions() {
  static const llvm::StringSet<> extensions = [] {
    llvm::StringSet<> names;
    SmallVector<StringRef> cpus, features;
    llvm::X86::fillValidCPUArchList(cpus, /*Only64Bit=*/true);
    for (StringRef cpu : cpus)
      llvm::X86::getFeaturesForCPU(cpu, features);
    for (StringRef feature : features)
      names.insert(feature);
    return names;
  }();
  return extensions;
}

static bool isNeeded(const Triple &triple, StringRef feature) {
  if (triple.isAArch64())
    return isSelectedAArch64(feature);
  // avx10.1 and the like are in no processor's list.
  return (getX86Extensions().contains(feature) || feature.starts_with("avx")) &&
         !isNeverSelectedX86(feature);
}

//===----------------------------------------------------------------------===//
// The flags
//===----------------------------------------------------------------------===//

using Subtarget = std::unique_ptr<llvm::MCSubtargetInfo>;

/// What this machine has. What a runtime on it could not check is switched
/// off, so that a native artifact always runs where it was made.
static std::string getHostFeatures(const llvm::Target &machine,
                                   const Triple &triple, StringRef cpu) {
  std::vector<std::string> features;
  for (const auto &entry : llvm::sys::getHostCPUFeatures())
    features.push_back((entry.second ? "+" : "-") + entry.first().str());
  llvm::sort(features, [](StringRef a, StringRef b) {
    return a.drop_front() < b.drop_front();
  });
  Subtarget subtarget(
      machine.createMCSubtargetInfo(triple, cpu, llvm::join(features, ",")));
  for (const llvm::SubtargetFeatureKV &feature :
       subtarget->getAllProcessorFeatures())
    if (subtarget->hasFeature(feature.Value) && isNeeded(triple, feature.Key) &&
        !::tbq::hostHasFeature(feature.Key))
      features.push_back("-" + std::string(feature.Key));
  return llvm::join(features, ",");
}

static Result<Triple> resolveTriple(const std::string &text) {
  Triple triple(Triple::normalize(
      text.empty() ? llvm::sys::getDefaultTargetTriple() : text));
  bool known =
      triple.getArch() == Triple::x86_64 || triple.getArch() == Triple::aarch64;
  if (!known || !triple.isOSLinux() || !triple.isOSBinFormatELF() ||
      triple.isX32() || triple.getEnvironment() == Triple::GNUILP32)
    return makeError("--mtriple", "",
                     "'" + text +
                         "' is not supported (x86_64-linux-gnu, "
                         "aarch64-linux-gnu)");
  return triple;
}

static Status checkCpu(const llvm::MCSubtargetInfo &machine,
                       const Triple &triple, const std::string &cpu) {
  SmallVector<StringRef> valid;
  for (const llvm::SubtargetSubTypeKV &processor :
       machine.getAllProcessorDescriptions()) {
    StringRef name(processor.Key);
    if (triple.isAArch64() || name == "generic" ||
        llvm::X86::parseArchX86(name, /*Only64Bit=*/true) != llvm::X86::CK_None)
      valid.push_back(name);
  }
  if (!llvm::is_contained(valid, cpu))
    return makeError("--mcpu", "", refusedValue(cpu, valid));
  return Status::ok();
}

static Status checkAttributes(const llvm::MCSubtargetInfo &machine,
                              const std::string &attributes) {
  // Without these LLVM cannot generate 64-bit code for the calling convention.
  static const llvm::StringSet<> baseline = {
      "64bit", "cmov", "cx8", "sse", "sse2", "x87", "fp-armv8", "neon"};
  SmallVector<StringRef> valid, wanted;
  for (const llvm::SubtargetFeatureKV &feature :
       machine.getAllProcessorFeatures())
    valid.push_back(feature.Key);
  StringRef(attributes).split(wanted, ',', -1, /*KeepEmpty=*/false);
  for (StringRef attribute : wanted) {
    StringRef name = attribute.drop_front();
    if (attribute[0] != '+' && attribute[0] != '-')
      return makeError("--mattr", "",
                       "'" + attribute.str() + "' must begin with + or -");
    if (!llvm::is_contained(valid, name))
      return makeError("--mattr", "", refusedValue(name, valid));
    if (attribute[0] == '-' && baseline.contains(name))
      return makeError("--mattr", "",
                       "'" + attribute.str() + "': code needs " + name.str());
  }
  return Status::ok();
}

Result<CodeTarget> CodeTarget::resolve(const TargetFlags &flags) {
  initializeTargets();
  Result<Triple> triple = resolveTriple(flags.triple);
  if (!triple)
    return triple.error();
  CodeTarget target;
  target.triple = triple->str();
  target.optimization = flags.optimization;

  std::string error;
  const llvm::Target *machine =
      llvm::TargetRegistry::lookupTarget(*triple, error);
  if (!machine)
    return makeError("--mtriple", "", error);
  bool isHost = triple->getArchName() == ::tbq::hostArchitecture();
  // What surrounds a GPU's kernels has nothing to do: any processor may.
  const bool isNative = isHost && flags.device.empty();
  target.cpu = !flags.cpu.empty() ? flags.cpu : isNative ? "native" : "generic";
  if (target.cpu == "native") {
    if (!isHost)
      return makeError("--mcpu", "",
                       "'native' is for this machine's architecture, not " +
                           triple->getArchName().str());
    target.cpu = llvm::sys::getHostCPUName().str();
    target.features = getHostFeatures(*machine, *triple, target.cpu);
  } else if (target.cpu == "generic" && target.isX86()) {
    target.cpu = "x86-64";
  }

  // Asked without a processor: only for the lists of what is valid.
  Subtarget every(machine->createMCSubtargetInfo(*triple, "", ""));
  if (Status status = checkCpu(*every, *triple, target.cpu); !status)
    return status.error();
  if (Status status = checkAttributes(*every, flags.attributes); !status)
    return status.error();
  if (!flags.attributes.empty())
    target.features += (target.features.empty() ? "" : ",") + flags.attributes;

  Subtarget subtarget(
      machine->createMCSubtargetInfo(*triple, target.cpu, target.features));
  for (const llvm::SubtargetFeatureKV &feature :
       subtarget->getAllProcessorFeatures()) {
    if (!subtarget->hasFeature(feature.Value))
      continue;
    target.enabled.push_back(feature.Key);
    if (isNeeded(*triple, feature.Key))
      target.needed.push_back(feature.Key);
  }
  llvm::sort(target.enabled);
  llvm::sort(target.needed);
  if (target.isX86() && llvm::is_contained(target.enabled, "avx512f"))
    target.vectorWidth = 512;
  return target;
}

/// The number in the name of a GPU's architecture, 90 of sm_90a.
static unsigned getGenerationOf(StringRef name) {
  unsigned generation = 0;
  return name.consume_front("sm_") && !name.consumeInteger(10, generation)
             ? generation
             : 0;
}

Result<CodeTarget> CodeTarget::resolveDevice(const TargetFlags &flags) {
  initializeTargets();
  CodeTarget target;
  target.triple = "nvptx64-nvidia-cuda";
  target.optimization = flags.optimization;
  std::string error;
  Triple triple(target.triple);
  const llvm::Target *machine =
      llvm::TargetRegistry::lookupTarget(triple, error);
  if (!machine)
    return makeError("--target", "", error);
  Subtarget every(machine->createMCSubtargetInfo(triple, "", ""));
  SmallVector<StringRef> valid;
  for (const llvm::SubtargetSubTypeKV &processor :
       every->getAllProcessorDescriptions())
    // Older ones have no products of 32 bytes.
    if (getGenerationOf(processor.Key) >= 80)
      valid.push_back(processor.Key);
  for (StringRef name : llvm::split(flags.device, ',')) {
    if (!llvm::is_contained(valid, name))
      return makeError("--gpu-arch", "", refusedValue(name, valid));
    if (!llvm::is_contained(target.architectures, name))
      target.architectures.push_back(name.str());
  }
  llvm::stable_sort(target.architectures, [](StringRef x, StringRef y) {
    return getGenerationOf(x) < getGenerationOf(y);
  });
  target.cpu = target.architectures.front();
  if (target.getGeneration() == 80)
    target.features = "+ptx71"; // the first version that has products of bits
  return target;
}

unsigned CodeTarget::getGeneration() const { return getGenerationOf(cpu); }

bool CodeTarget::isDevice() const { return Triple(triple).isNVPTX(); }

bool CodeTarget::isX86() const {
  return Triple(triple).getArch() == Triple::x86_64;
}

std::unique_ptr<llvm::TargetMachine> CodeTarget::createMachine() const {
  std::string error;
  const llvm::Target *machine =
      llvm::TargetRegistry::lookupTarget(Triple(triple), error);
  llvm::TargetOptions options;
  // The same bits on every target: a multiplication and an addition are fused
  // where the IR says fma, and nowhere else.
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  return std::unique_ptr<llvm::TargetMachine>(machine->createTargetMachine(
      Triple(triple), cpu, features, options, llvm::Reloc::PIC_,
      llvm::CodeModel::Small,
      *llvm::CodeGenOpt::getLevel(static_cast<int>(optimization))));
}

std::string mlir::tbq::describeTargets() {
  std::string text = "--target=cpu   x86_64, aarch64 (Linux); CPU names and "
                     "features are LLVM's\n--target=cuda  PTX for --gpu-arch, "
                     "sm_70 and later\n";
  Result<CodeTarget> host = CodeTarget::resolve({});
  if (!host)
    return text;
  text += "this machine:  --mtriple=" + host->triple + " --mcpu=" + host->cpu +
          "\n  needs of a native artifact: " + llvm::join(host->needed, " ") +
          "\n";
  return text;
}
