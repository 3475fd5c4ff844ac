// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Input: a module after the cpu stage. Output: the same as LLVM IR, with the
// one function that an artifact exports and the table it returns.
// Invariant: only tbq_model_query is visible; no instruction may be computed
// otherwise than it is written (no fast-math flag).

#include "tbq/Emit.h"

#include "format/StepAbi.h"

#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/IR/Constants.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/Operator.h"
#include "llvm/Target/TargetMachine.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;

StepCode::StepCode(const CodeTarget &target)
    : target(target), context(std::make_unique<llvm::LLVMContext>()) {}
StepCode::StepCode(StepCode &&) noexcept = default;
StepCode::~StepCode() = default;

/// The function `name` if it has exactly the type of a tbq_step_fn, or of a
/// tbq_batch_fn.
static Result<llvm::Function *> findStep(llvm::Module &module, const char *name,
                                         bool isBatch) {
  llvm::LLVMContext &context = module.getContext();
  llvm::Type *pointer = llvm::PointerType::getUnqual(context);
  llvm::Type *integer = llvm::Type::getInt64Ty(context);
  auto *type = llvm::FunctionType::get(llvm::Type::getVoidTy(context),
                                       {pointer, pointer, pointer, pointer,
                                        pointer, isBatch ? pointer : integer,
                                        integer, integer, pointer},
                                       /*isVarArg=*/false);
  llvm::Function *step = module.getFunction(name);
  if (!step || step->isDeclaration())
    return makeError("", std::string("@") + name, "the step is missing");
  if (step->getFunctionType() != type)
    return makeError("", std::string("@") + name,
                     "the step has not the arguments of format/StepAbi.h");
  return step;
}

int64_t mlir::tbq::getBatchTokens(ModuleOp module) {
  auto tokens = module->getAttrOfType<IntegerAttr>("tbq.batch_tokens");
  return tokens ? tokens.getInt() : 1;
}

static Result<int64_t> getSize(ModuleOp module, StringRef name) {
  auto size = module->getAttrOfType<IntegerAttr>(name);
  if (!size || size.getInt() < 0)
    return makeError("", name.str(), "the module does not say this size");
  return size.getInt();
}

/// The model's table as a constant; its data are symbols of the data object.
static Result<llvm::GlobalVariable *> addTable(llvm::Module &module,
                                               ModuleOp source, bool onDevice) {
  llvm::LLVMContext &context = module.getContext();
  auto *pointer = llvm::PointerType::getUnqual(context);
  auto *word = llvm::Type::getInt64Ty(context);
  auto *half = llvm::Type::getInt32Ty(context);
  llvm::SmallVector<llvm::Constant *> fields = {
      llvm::ConstantInt::get(half, TBQ_STEP_ABI),
      llvm::ConstantInt::get(half, sizeof(tbq_model_table))};

  auto addData = [&](std::string name) {
    auto declare = [&](const std::string &symbol) {
      auto *data = new llvm::GlobalVariable(
          module, llvm::Type::getInt8Ty(context), /*isConstant=*/true,
          llvm::GlobalValue::ExternalLinkage, nullptr, symbol);
      data->setVisibility(llvm::GlobalValue::HiddenVisibility);
      return data;
    };
    fields.push_back(declare(name));
    fields.push_back(
        llvm::ConstantExpr::getPtrToInt(declare(name + "_bytes"), word));
  };
  addData(kManifestSymbol);
  addData(kTokenizerSymbol);
  addData(kWeightsSymbol);

  for (StringRef name :
       {"tbq.arena_bytes", "tbq.cache_bytes", "tbq.shared_bytes",
        "tbq.decode_tokens", "tbq.prefill_tokens", "tbq.batch_tokens",
        "tbq.logits_stride"}) {
    if (name == "tbq.shared_bytes" && !onDevice) {
      fields.push_back(llvm::ConstantInt::get(word, 0));
      continue;
    }
    if (name == "tbq.batch_tokens") {
      fields.push_back(llvm::ConstantInt::get(word, getBatchTokens(source)));
      continue;
    }
    Result<int64_t> size = getSize(source, name);
    if (!size)
      return size.error();
    fields.push_back(llvm::ConstantInt::get(word, *size));
  }
  for (const char *name : {"decode", "prefill", "batch"}) {
    const bool isBatch = StringRef(name) == "batch";
    if (onDevice || (isBatch && getBatchTokens(source) == 1)) {
      fields.push_back(llvm::ConstantPointerNull::get(pointer));
      continue;
    }
    Result<llvm::Function *> step = findStep(module, name, isBatch);
    if (!step)
      return step.error();
    fields.push_back(*step);
  }
  addData(kKernelsSymbol);

  static_assert(sizeof(tbq_model_table) == 2 * 4 + 18 * 8,
                "the table below has the fields of format/StepAbi.h");
  llvm::SmallVector<llvm::Type *> types(2, half);
  for (unsigned i = 0; i < 3; ++i)
    types.append({pointer, word});
  types.append(7, word);
  types.append(3, pointer);
  types.append({pointer, word});
  auto *type = llvm::StructType::create(context, types, "tbq_model_table");
  auto *table = new llvm::GlobalVariable(
      module, type, /*isConstant=*/true, llvm::GlobalValue::InternalLinkage,
      llvm::ConstantStruct::get(type, fields), "tbq_table");
  table->setAlignment(llvm::Align(64));
  return table;
}

/// const tbq_model_table *tbq_model_query(uint32_t abi_version)
static void addQuery(llvm::Module &module, llvm::GlobalVariable *table) {
  llvm::IRBuilder<> b(module.getContext());
  auto *query = llvm::Function::Create(
      llvm::FunctionType::get(b.getPtrTy(), {b.getInt32Ty()}, false),
      llvm::GlobalValue::ExternalLinkage, "tbq_model_query", module);
  b.SetInsertPoint(
      llvm::BasicBlock::Create(module.getContext(), "entry", query));
  llvm::Value *known =
      b.CreateICmpEQ(query->getArg(0), b.getInt32(TBQ_STEP_ABI));
  b.CreateRet(b.CreateSelect(known, table,
                             llvm::ConstantPointerNull::get(b.getPtrTy())));
}

static Status restrictFunction(llvm::Function &function,
                               const CodeTarget &target) {
  for (llvm::Instruction &instruction : llvm::instructions(function))
    if (isa<llvm::FPMathOperator>(instruction) &&
        instruction.getFastMathFlags().any())
      return makeError("", "@" + function.getName().str(),
                       "fast-math flags would make results depend on the "
                       "optimiser");
  llvm::AttrBuilder attributes(function.getContext());
  attributes.addAttribute("target-cpu", target.cpu);
  if (!target.features.empty())
    attributes.addAttribute("target-features", target.features);
  if (target.vectorWidth)
    attributes.addAttribute("prefer-vector-width",
                            std::to_string(target.vectorWidth));
  attributes.addAttribute("frame-pointer", "none");
  attributes.addAttribute(llvm::Attribute::NoUnwind);
  function.removeFnAttr(llvm::Attribute::UWTable);
  function.removeFnAttr(llvm::Attribute::StackProtect);
  function.addFnAttrs(attributes);
  return Status::ok();
}

Result<StepCode> StepCode::translate(ModuleOp source,
                                     const CodeTarget &target) {
  StepCode code(target);
  code.machine = target.createMachine();
  code.module = translateModuleToLLVMIR(source, *code.context, "tbq");
  if (!code.module)
    return makeError("", "emit", "translation to LLVM IR failed");
  if (target.isDevice()) {
    if (Status status = code.finishKernels(); !status)
      return status.error();
    return code;
  }
  if (Status status = code.addEntry(source, /*onDevice=*/false); !status)
    return status.error();
  return code;
}

Result<StepCode> StepCode::wrapKernels(ModuleOp source,
                                       const CodeTarget &target) {
  StepCode code(target);
  code.machine = target.createMachine();
  code.module = std::make_unique<llvm::Module>("tbq", *code.context);
  if (Status status = code.addEntry(source, /*onDevice=*/true); !status)
    return status.error();
  return code;
}

void StepCode::setTarget() {
  module->setTargetTriple(llvm::Triple(target.triple));
  module->setDataLayout(machine->createDataLayout());
  module->setPICLevel(llvm::PICLevel::BigPIC);
  module->setSourceFileName("tbq");
}

/// Functions that only kernels call become part of them: their pointers are
/// then known to be those of device memory.
Status StepCode::finishKernels() {
  setTarget();
  for (llvm::Function &function : *module) {
    if (function.isDeclaration())
      continue;
    if (Status status = restrictFunction(function, target); !status)
      return status;
    // Of warps that meet in it.
    for (llvm::Instruction &instruction : llvm::instructions(function))
      if (auto *call = dyn_cast<llvm::CallInst>(&instruction);
          call && call->isInlineAsm())
        call->setConvergent();
    if (function.getCallingConv() == llvm::CallingConv::PTX_Kernel)
      continue;
    function.setLinkage(llvm::GlobalValue::InternalLinkage);
    function.addFnAttr(llvm::Attribute::AlwaysInline);
  }
  return Status::ok();
}

/// The one function that an artifact exports, with the model's table.
Status StepCode::addEntry(ModuleOp source, bool onDevice) {
  setTarget();
  Result<llvm::GlobalVariable *> table = addTable(*module, source, onDevice);
  if (!table)
    return table.error();
  for (llvm::GlobalObject &object : module->global_objects())
    if (!object.isDeclaration() && !object.hasLocalLinkage())
      object.setLinkage(llvm::GlobalValue::InternalLinkage);
  addQuery(*module, *table);
  for (llvm::Function &function : *module)
    if (!function.isDeclaration())
      if (Status status = restrictFunction(function, target); !status)
        return status;
  return Status::ok();
}

std::string StepCode::text() const {
  std::string text;
  llvm::raw_string_ostream out(text);
  module->print(out, nullptr);
  return text;
}
