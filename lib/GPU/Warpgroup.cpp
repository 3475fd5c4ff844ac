// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See Warpgroup.h.

#include "Warpgroup.h"

#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace mlir::tbq;

/// Registers of a thread: as launched, and of one that multiplies or does not.
static constexpr int64_t kRegisters = 128, kOfMultiplying = 216, kOfOthers = 40;
static constexpr int64_t kGroups = kWarps / kGroupWarps;
static_assert(kMultiplyingGroups * kOfMultiplying +
                  (kGroups - kMultiplyingGroups) * kOfOthers <=
              kGroups * kRegisters);

/// Runs `body`, by whole groups of warps, each thread of which has so many
/// registers meanwhile. A group meets between two changes, and who takes
/// registers again does so when others have left them, or it takes what these
/// wait for.
static void withRegisters(ThreadBuilder &t, int64_t count,
                          llvm::function_ref<void()> body) {
  auto set = [&](int64_t count, bool isMore) {
    NVVM::SetMaxRegisterOp::create(t.b, t.loc, count,
                                   isMore
                                       ? NVVM::SetMaxRegisterAction::increase
                                       : NVVM::SetMaxRegisterAction::decrease);
  };
  bool takes = count > kRegisters;
  set(count, takes);
  body();
  t.synchronize();
  if (takes)
    set(kRegisters, /*isMore=*/false);
  t.synchronize();
  if (!takes)
    set(kRegisters, /*isMore=*/true);
}

void mlir::tbq::divideGroups(ThreadBuilder &t,
                             llvm::function_ref<void()> multiply,
                             llvm::function_ref<void(Value)> others) {
  Value number = t.toI32(t.div(t.warp(), kGroupWarps));
  t.ifThen(t.less(number, t.constantI32(kMultiplyingGroups)), [&] {
    t.renewThread();
    withRegisters(t, kOfMultiplying, multiply);
  });
  t.ifThen(t.less(t.constantI32(kMultiplyingGroups - 1), number), [&] {
    t.renewThread();
    withRegisters(t, kOfOthers, [&] {
      others(t.sub(number, t.constantI32(kMultiplyingGroups)));
    });
  });
  t.renewThread();
}

static Value assemble(ThreadBuilder &t, const std::string &text,
                      const std::string &constraints, ValueRange operands,
                      Type result = Type()) {
  auto op = LLVM::InlineAsmOp::create(
      t.b, t.loc, result ? TypeRange(result) : TypeRange(), operands, text,
      constraints, /*has_side_effects=*/true, /*is_align_stack=*/false,
      LLVM::TailCallKind::None, /*asm_dialect=*/nullptr,
      /*operand_attrs=*/ArrayAttr());
  return result ? op.getRes() : Value();
}

static Value toI64(ThreadBuilder &t, Value address) {
  return arith::IndexCastOp::create(t.b, t.loc, t.b.getI64Type(), address);
}

/// fields: below an address's own, in sixteens of bytes.
static Value describe(ThreadBuilder &t, Value address, int64_t fields) {
  Value sixteens = t.andBits(t.shiftRight(t.toI32(address), 4), 0x3fff);
  // The result is the warp's, not each lane's, and so is what is added to it.
  return t.reduceAllLanes(t.add(sixteens, t.constantI32(fields)),
                          NVVM::ReduxKind::UMAX);
}

Value mlir::tbq::getDescriptor(ThreadBuilder &t, Value address) {
  return describe(t, address, 1 << 16); // where a field must not be 0
}

Value mlir::tbq::getHalfDescriptor(ThreadBuilder &t, Value address,
                                   int64_t tokens) {
  return describe(t, address, tokens << 16); // from four words to the next
}

/// $from, ..., in braces.
static std::string list(int64_t from, int64_t count) {
  std::string text;
  for (int64_t i = 0; i < count; ++i)
    text += llvm::formatv("{0}${1}", i ? ", " : "{", from + i).str();
  return text + "}";
}

static SmallVector<Value> assembleMany(ThreadBuilder &t,
                                       const std::string &text,
                                       const std::string &constraints,
                                       ValueRange operands, int64_t count) {
  auto type = LLVM::LLVMStructType::getLiteral(
      t.b.getContext(), SmallVector<Type>(count, t.b.getI32Type()));
  Value all = assemble(t, text, constraints, operands, type);
  SmallVector<Value> results;
  for (int64_t i = 0; i < count; ++i)
    results.push_back(LLVM::ExtractValueOp::create(t.b, t.loc, all, i));
  return results;
}

/// What products of either kind have in common: `tokens` columns, slices of
/// four words of rows each, a descriptor's step from slice to slice.
/// name: what an emulator calls; kind: of the instruction, behind `n`; high: of
/// the descriptor; flags: behind the last operand.
static SmallVector<Value> start(ThreadBuilder &t, StringRef name,
                                StringRef kind, uint32_t high, StringRef flags,
                                int64_t tokens, ArrayRef<Value> words,
                                Value descriptor, int64_t step,
                                ArrayRef<Value> sums, Value adds = nullptr) {
  int64_t count = tokens / 2, slices = words.size() / 4;
  int64_t firstWord = count, at = count + words.size();
  std::string first = adds           ? "$" + std::to_string(at + 1)
                      : sums.empty() ? "0"
                                     : "1";
  // What the registers of a product are used for before it must not be between
  // its slices: all of them are one text.
  std::string text =
      llvm::formatv("// tbq_start_{0} i32 {1}, i32 {2}, i32 {3},"
                    " i32 {4}\n"
                    "{{\n"
                    ".reg .pred first, other;\n"
                    ".reg .b32 low;\n"
                    ".reg .b64 at;\n"
                    "setp.ne.b32 first, {5}, 0;\n"
                    "setp.eq.b32 other, 0, 0;\n"
                    "wgmma.fence.sync.aligned;\n",
                    name, tokens, slices, sums.empty() ? 0 : 1, step, first);
  for (int64_t slice = 0; slice < slices; ++slice)
    text += llvm::formatv("add.u32 low, ${0}, {1};\n"
                          "mov.b64 at, {{low, {2:x}};\n"
                          "wgmma.mma_async.sync.aligned.m64n{3}{4} "
                          "{5}, {6}, at, {7}{8};\n",
                          at, step * slice, high, tokens, kind, list(0, count),
                          list(firstWord + 4 * slice, 4),
                          slice ? "other" : "first", flags);
  text += "wgmma.commit_group.sync.aligned;\n"
          "}";
  std::string constraints;
  for (int64_t i = 0; i < count; ++i)
    constraints += sums.empty() ? "=&r," : "=r,";
  for (size_t i = 0; i < words.size(); ++i)
    constraints += "r,";
  constraints += adds ? "r,r" : "r";
  for (size_t i = 0; i < sums.size(); ++i)
    constraints += "," + std::to_string(i);
  SmallVector<Value> operands(words);
  operands.push_back(descriptor);
  if (adds)
    operands.push_back(adds);
  llvm::append_range(operands, sums);
  return assembleMany(t, text, constraints, operands, count);
}

SmallVector<Value> mlir::tbq::startProducts(ThreadBuilder &t, int64_t tokens,
                                            ArrayRef<Value> digits,
                                            Value descriptor,
                                            ArrayRef<Value> sums) {
  // Strides of eight tokens; bytes are exchanged among 128.
  return start(t, "products", "k32.s32.s8.s8", 0x40000040, "", tokens, digits,
               descriptor, /*step=*/2, sums);
}

/// Of a descriptor: eight tokens every eight sixteens; rows and columns as they
/// are.
static constexpr uint32_t kStrides = 8;

SmallVector<Value>
mlir::tbq::startHalfProducts(ThreadBuilder &t, int64_t tokens,
                             ArrayRef<Value> halves, Value descriptor,
                             int64_t stride, ArrayRef<Value> sums, Value adds) {
  return start(t, adds ? "half_products_if" : "half_products",
               "k16.f32.f16.f16", kStrides, ", 1, 1, 0", tokens, halves,
               descriptor, /*step=*/2 * stride, sums, adds);
}

SmallVector<Value> mlir::tbq::startRowProducts(ThreadBuilder &t, int64_t tokens,
                                               Value rows, int64_t rowStep,
                                               Value descriptor, int64_t step,
                                               int64_t slices) {
  int64_t count = tokens / 2;
  std::string text =
      llvm::formatv("// tbq_start_row_products i32 {0}, i32 {1}, i32 {2},"
                    " i32 {3}\n"
                    "{{\n"
                    ".reg .pred other;\n"
                    ".reg .b32 low;\n"
                    ".reg .b64 rows, at;\n"
                    "wgmma.fence.sync.aligned;\n",
                    tokens, slices, rowStep, step);
  for (int64_t slice = 0; slice < slices; ++slice)
    text += llvm::formatv("setp.{0}.b32 other, 0, 0;\n"
                          "add.u32 low, ${1}, {2};\n"
                          "mov.b64 rows, {{low, {3:x}};\n"
                          "add.u32 low, ${4}, {5};\n"
                          "mov.b64 at, {{low, {3:x}};\n"
                          "wgmma.mma_async.sync.aligned.m64n{6}"
                          "k16.f32.f16.f16 {7}, rows, at, other, 1, 1, 0, 0;\n",
                          slice ? "eq" : "ne", count, rowStep * slice, kStrides,
                          count + 1, step * slice, tokens, list(0, count));
  text += "wgmma.commit_group.sync.aligned;\n"
          "}";
  std::string constraints;
  for (int64_t i = 0; i < count; ++i)
    constraints += "=&r,";
  return assembleMany(t, text, constraints + "r,r", {rows, descriptor}, count);
}

SmallVector<Value> mlir::tbq::finishProducts(ThreadBuilder &t, int64_t later,
                                             ArrayRef<Value> products,
                                             ArrayRef<Value> digits) {
  // The digits' registers are not used for anything else until here.
  int64_t count = products.size();
  std::string text = llvm::formatv("// tbq_finish_products i32 {0}, i32 {1}\n"
                                   "wgmma.wait_group.sync.aligned {1};",
                                   count, later);
  std::string constraints;
  for (int64_t i = 0; i < count; ++i)
    constraints += "=r,";
  for (int64_t i = 0; i < count; ++i)
    constraints += std::to_string(i) + ",";
  for (size_t i = 0; i < digits.size(); ++i)
    constraints += "r,";
  constraints += "~{memory}";
  SmallVector<Value> operands(products);
  llvm::append_range(operands, digits);
  return assembleMany(t, text, constraints, operands, count);
}

Value mlir::tbq::isElected(ThreadBuilder &t) {
  Value word = assemble(t,
                        "// tbq_elect\n"
                        "{\n"
                        ".reg .pred elected;\n"
                        "elect.sync _|elected, -1;\n"
                        "selp.b32 $0, 1, 0, elected;\n"
                        "}",
                        "=r", {}, t.b.getI32Type());
  return t.equal(word, 1);
}

void mlir::tbq::initBarrier(ThreadBuilder &t, Value barrier, Value arrivals) {
  assemble(t,
           "// tbq_init_barrier\n"
           "mbarrier.init.shared::cta.b64 [$0], $1;",
           "l,r,~{memory}", {toI64(t, barrier), arrivals});
}

void mlir::tbq::endBarrier(ThreadBuilder &t, Value barrier) {
  assemble(t,
           "// tbq_end_barrier\n"
           "mbarrier.inval.shared::cta.b64 [$0];",
           "l,~{memory}", toI64(t, barrier));
}

void mlir::tbq::arrive(ThreadBuilder &t, Value barrier) {
  assemble(t,
           "// tbq_arrive\n"
           "mbarrier.arrive.shared::cta.b64 _, [$0];",
           "l,~{memory}", toI64(t, barrier));
}

void mlir::tbq::arriveAndExpect(ThreadBuilder &t, Value barrier,
                                int64_t bytes) {
  assemble(t,
           "// tbq_arrive_and_expect\n"
           "mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;",
           "l,r,~{memory}", {toI64(t, barrier), t.constantI32(bytes)});
}

void mlir::tbq::waitForTurn(ThreadBuilder &t, Value barrier, Value parity) {
  // Sleeps for up to 10 ms: without a limit given a wait ends after some ten
  // cycles, and to ask again takes issue slots of warps that multiply.
  assemble(
      t,
      "// tbq_wait_for_turn\n"
      "{\n"
      ".reg .pred over;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 over, [$0], $1, 10000000;\n"
      "@over bra done;\n"
      "bra again;\n"
      "done:\n"
      "}",
      "l,r,~{memory}", {toI64(t, barrier), parity});
}

SmallVector<Value> mlir::tbq::getNextStage(ThreadBuilder &t, Value slot,
                                           Value parity, int64_t stages) {
  Value isLast = t.equal(slot, stages - 1);
  return {t.select(isLast, t.constantI32(0), t.add(slot, 1)),
          t.select(isLast, t.exclusiveOr(parity, t.constantI32(1)), parity)};
}

void mlir::tbq::copyBulk(ThreadBuilder &t, Value to, Value from, int64_t bytes,
                         Value barrier) {
  assemble(
      t,
      "// tbq_copy_bulk\n"
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[$0], [$1], $2, [$3];",
      "l,l,r,l,~{memory}",
      {toI64(t, to), toI64(t, from), t.constantI32(bytes), toI64(t, barrier)});
}

void mlir::tbq::fenceCopies(ThreadBuilder &t) {
  assemble(t, "// tbq_fence_copies\nfence.proxy.async;", "~{memory}", {});
}
