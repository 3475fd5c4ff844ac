// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Optimises the step's LLVM IR and generates assembly or an object, in
// process. Invariant: an object needs memcpy, memset, memmove and the
// artifact's own data, nothing else.

#include "tbq/Emit.h"

#include "llvm/ADT/StringSet.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/DiagnosticPrinter.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;

/// Of all library functions the optimiser may introduce calls to these.
static llvm::TargetLibraryInfoImpl getLibrary(const llvm::Triple &triple) {
  llvm::TargetLibraryInfoImpl library(triple);
  library.disableAllFunctions();
  for (llvm::LibFunc function :
       {llvm::LibFunc_memcpy, llvm::LibFunc_memset, llvm::LibFunc_memmove})
    library.setAvailable(function);
  return library;
}

static llvm::OptimizationLevel getLevel(unsigned level) {
  const llvm::OptimizationLevel levels[] = {
      llvm::OptimizationLevel::O0, llvm::OptimizationLevel::O1,
      llvm::OptimizationLevel::O2, llvm::OptimizationLevel::O3};
  return levels[level];
}

void StepCode::optimise() {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  // Lowering has unrolled what gains by it; to look for more takes a quarter of
  // the time.
  llvm::PipelineTuningOptions tuning;
  tuning.LoopUnrolling = false;
  llvm::PassBuilder builder(machine.get(), tuning);
  llvm::TargetLibraryInfoImpl library = getLibrary(module->getTargetTriple());
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(getLevel(target.optimization))
      .run(*module, modules);
}

Result<std::string> StepCode::generate(bool asObject) const {
  // What code generation reports (an unknown intrinsic, say) is kept, since
  // it goes on after an error.
  std::string problem;
  context->setDiagnosticHandlerCallBack(
      [](const llvm::DiagnosticInfo *info, void *problem) {
        if (info->getSeverity() != llvm::DS_Error)
          return;
        llvm::raw_string_ostream out(*static_cast<std::string *>(problem));
        llvm::DiagnosticPrinterRawOStream printer(out);
        info->print(printer);
      },
      &problem);
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream out(bytes);
  llvm::legacy::PassManager passes;
  passes.add(new llvm::TargetLibraryInfoWrapperPass(
      getLibrary(module->getTargetTriple())));
  if (machine->addPassesToEmitFile(passes, out, nullptr,
                                   asObject
                                       ? llvm::CodeGenFileType::ObjectFile
                                       : llvm::CodeGenFileType::AssemblyFile))
    return makeError("", "emit", "no code generation for " + target.triple);
  // Code generation changes the module, which stays as it is.
  passes.run(*llvm::CloneModule(*module));
  context->setDiagnosticHandlerCallBack(nullptr);
  if (!problem.empty())
    return makeError("", "emit", problem);
  return std::string(bytes.begin(), bytes.end());
}

Result<std::string> StepCode::assembly() const { return generate(false); }

/// Fails on a symbol that neither libc's three functions nor the data object
/// will define.
static Status checkSymbols(StringRef object) {
  auto file = llvm::object::ObjectFile::createObjectFile(
      llvm::MemoryBufferRef(object, "code"));
  if (!file)
    return makeError("", "emit", llvm::toString(file.takeError()));
  llvm::StringSet<> allowed = {"memcpy", "memset", "memmove",
                               "_GLOBAL_OFFSET_TABLE_"};
  for (const char *data :
       {kWeightsSymbol, kManifestSymbol, kTokenizerSymbol, kKernelsSymbol}) {
    allowed.insert(data);
    allowed.insert(std::string(data) + "_bytes");
  }
  for (const llvm::object::SymbolRef &symbol : (*file)->symbols()) {
    llvm::Expected<uint32_t> flags = symbol.getFlags();
    llvm::Expected<StringRef> name = symbol.getName();
    if (!flags)
      return makeError("", "emit", llvm::toString(flags.takeError()));
    if (!name)
      return makeError("", "emit", llvm::toString(name.takeError()));
    bool undefined = *flags & llvm::object::SymbolRef::SF_Undefined &&
                     !(*flags & llvm::object::SymbolRef::SF_FormatSpecific);
    if (undefined && !allowed.contains(*name))
      return makeError("", "emit",
                       "the code calls '" + name->str() +
                           "', which no artifact may need");
  }
  return Status::ok();
}

Result<std::string> StepCode::object() const {
  Result<std::string> object = generate(true);
  if (!object)
    return object;
  if (Status status = checkSymbols(*object); !status)
    return status.error();
  return object;
}
