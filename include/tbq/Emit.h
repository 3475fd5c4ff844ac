// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From a module after the cpu stage to model.so: a target that is resolved
// once, the step's code, and the artifact around it.
// Invariant: equal inputs give equal bytes, whatever the folder or the time;
// no file is left half-written.
#ifndef TBQ_EMIT_H
#define TBQ_EMIT_H

#include "format/Manifest.h"
#include "format/Result.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace llvm {
class LLVMContext;
class Module;
class TargetMachine;
} // namespace llvm

namespace mlir::tbq {

class WeightsOp;

/// What --mtriple, --mcpu, --mattr and -O ask for.
struct TargetFlags {
  std::string triple; // empty: this machine
  std::string cpu; // "native"; empty: native, or generic elsewhere and for GPUs
  std::string attributes; // "+avx512vnni,-fma"
  std::string device;     // "sm_80,sm_90a": GPUs; empty: it runs on the CPU
  unsigned optimization = 3;
};

/// A processor that code is generated for.
struct CodeTarget {
  std::string triple;   // normalised
  std::string cpu;      // an LLVM name, never "native"
  std::string features; // as LLVM takes them: "+a,-b"
  /// Names of all that the processor has: what lowering may ask for.
  std::vector<std::string> enabled;
  /// Names of what a host must have to run any code LLVM may generate for it.
  std::vector<std::string> needed;
  /// Bits of the vectors that code generation should use; 0: its own choice.
  unsigned vectorWidth = 0;
  unsigned optimization = 3;
  /// Of GPUs, the oldest, which `cpu` is, first.
  std::vector<std::string> architectures;

  /// Errors name the flag, the value and the nearest valid one.
  static ::tbq::Result<CodeTarget> resolve(const TargetFlags &flags);
  /// The GPUs of `flags.device`.
  static ::tbq::Result<CodeTarget> resolveDevice(const TargetFlags &flags);

  bool isX86() const;
  bool isDevice() const;
  /// Of a device's oldest architecture: 90 of sm_90a.
  unsigned getGeneration() const;
  std::unique_ptr<llvm::TargetMachine> createMachine() const;
};

/// What `--print-targets` shows.
std::string describeTargets();

/// "'i9' (nearest: 'i8')": a value that is refused, and the nearest valid one.
std::string refusedValue(llvm::StringRef value,
                         llvm::ArrayRef<llvm::StringRef> valid);

/// Sequences that a step of a planned module can carry.
int64_t getBatchTokens(ModuleOp module);

/// The step as LLVM IR with its entry, tbq_model_query. Errors of this class
/// are defects of the compiler: nothing a user gives should cause them.
class StepCode {
public:
  /// Takes a module after the cpu stage, without tbq.weights; or after the gpu
  /// stage, whose kernels have no entry of their own.
  static ::tbq::Result<StepCode> translate(ModuleOp module,
                                           const CodeTarget &target);
  /// The entry alone, for a step whose kernels are data of the artifact.
  /// `module` says the sizes.
  static ::tbq::Result<StepCode> wrapKernels(ModuleOp module,
                                             const CodeTarget &target);
  StepCode(StepCode &&) noexcept;
  ~StepCode();

  void optimise();
  std::string text() const;
  /// For a GPU: PTX.
  ::tbq::Result<std::string> assembly() const;
  /// An ELF object whose undefined symbols are libc's memcpy, memset, memmove
  /// and the data of the artifact.
  ::tbq::Result<std::string> object() const;

private:
  StepCode(const CodeTarget &target);
  void setTarget();
  ::tbq::Status addEntry(ModuleOp sizes, bool onDevice);
  ::tbq::Status finishKernels();
  ::tbq::Result<std::string> generate(bool asObject) const;

  CodeTarget target;
  std::unique_ptr<llvm::LLVMContext> context;
  std::unique_ptr<llvm::Module> module;
  std::unique_ptr<llvm::TargetMachine> machine;
};

/// The ptxas that is `given`, or on the PATH; empty: there is none.
std::string findAssembler(const std::string &given);
/// PTX as machine code of a GPU's architecture, by ptxas. Errors are its own.
::tbq::Result<std::string> assembleKernels(const std::string &ptx,
                                           const std::string &architecture,
                                           const std::string &assembler);

/// Names of the artifact's data, defined in the data object and used by the
/// entry's table. `NAME_bytes` is an absolute symbol: the size.
inline constexpr const char *kWeightsSymbol = "tbq_weights";
inline constexpr const char *kManifestSymbol = "tbq_manifest";
inline constexpr const char *kTokenizerSymbol = "tbq_tokenizer";
inline constexpr const char *kKernelsSymbol = "tbq_kernels";

/// All of the manifest that the module and the target say; weights' hashes,
/// generation defaults, chat and the ABI's versions are the caller's or the
/// writer's. `module` is one after the cpu stage, `weights` its recipe.
::tbq::Result<::tbq::Manifest> describeModel(ModuleOp module, WeightsOp weights,
                                             const CodeTarget &target,
                                             const CodeTarget *device);

/// Takes the weights' bytes, front to back.
using WeightSink = llvm::function_ref<::tbq::Status(llvm::ArrayRef<uint8_t>)>;

/// Where an artifact's weights are: in it, in a file beside it, or nowhere.
enum class WeightsPlace { Embedded, Sidecar, Nowhere };

struct ArtifactParts {
  std::string code;    // StepCode::object
  std::string kernels; // PTX and cubins, if the step runs on a GPU
  std::vector<uint8_t> tokenizer;
  ::tbq::Manifest manifest; // its `weights` but for bytes are filled in here
  WeightsPlace place = WeightsPlace::Embedded;
  /// Called once, last: what may fail early has succeeded by then. Not at all
  /// where the weights are nowhere.
  llvm::function_ref<::tbq::Status(WeightSink)> writeWeights;
};

/// Links, writes and seals `path`, and `path`.weights if asked for. They appear
/// whole or stay what they were. `manifestText`, if not null, receives the
/// manifest as written.
::tbq::Status writeArtifact(const std::string &path, ArtifactParts parts,
                            const CodeTarget &target,
                            std::string *manifestText = nullptr);

/// Fails early where writeArtifact would fail late: no such folder, a folder
/// in the way, no permission.
::tbq::Status checkOutput(const std::string &path);

/// Writes text or bytes to `path` in the same way, "-" being stdout.
::tbq::Status writeOutput(const std::string &path, llvm::StringRef content);

} // namespace mlir::tbq

#endif // TBQ_EMIT_H
