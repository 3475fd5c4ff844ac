// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Memory as one thread sees it: loads and stores, what a block's threads share,
// copies behind a thread's back. See ThreadBuilder.h.

#include "ThreadBuilder.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

Value ThreadBuilder::load(Value memref, ValueRange indices) {
  return memref::LoadOp::create(b, loc, memref, indices);
}
void ThreadBuilder::store(Value scalar, Value memref, ValueRange indices) {
  memref::StoreOp::create(b, loc, scalar, memref, indices);
}

static int64_t sizeOf(VectorType type) {
  return type.getNumElements() * type.getElementTypeBitWidth() / 8;
}

Value ThreadBuilder::loadVector(Value memref, ValueRange indices,
                                VectorType type) {
  Type element = cast<MemRefType>(memref.getType()).getElementType();
  int64_t bytes = sizeOf(type);
  auto held =
      VectorType::get({bytes * 8 / element.getIntOrFloatBitWidth()}, element);
  Value vector = vector::LoadOp::create(
      b, loc, held, memref, indices, /*nontemporal=*/false,
      llvm::MaybeAlign(std::min<int64_t>(bytes, 16)));
  return held == type
             ? vector
             : vector::BitCastOp::create(b, loc, type, vector).getResult();
}
void ThreadBuilder::storeVector(ValueRange scalars, Value memref,
                                ValueRange indices) {
  auto type = VectorType::get({int64_t(scalars.size())}, scalars[0].getType());
  Value vector = vector::FromElementsOp::create(b, loc, type, scalars);
  vector::StoreOp::create(b, loc, vector, memref, indices,
                          /*nontemporal=*/false,
                          llvm::MaybeAlign(sizeOf(type)));
}
Value ThreadBuilder::packBytes(ValueRange words, int64_t byte) {
  // A digit of the selector names a byte: of the second word, from 4 on.
  auto take = [&](Value low, Value high, int32_t selector) -> Value {
    return NVVM::PermuteOp::create(b, loc, b.getI32Type(), low, high,
                                   constantI32(selector),
                                   NVVM::PermuteMode::DEFAULT);
  };
  int32_t two = (byte + 4) << 4 | byte;
  return take(take(words[0], words[1], two), take(words[2], words[3], two),
              0x5410);
}

Value ThreadBuilder::sumBytes(Value word) {
  auto type = VectorType::get({4}, b.getI8Type());
  Value bytes = LLVM::BitcastOp::create(b, loc, type, word);
  Value ones = arith::ConstantOp::create(
      b, loc, SplatElementsAttr::get(cast<ShapedType>(type), int8_t(1)));
  auto isSigned = NVVM::DotAccumulateType::SIGNED;
  return NVVM::DotAccumulate4WayOp::create(
      b, loc, b.getI32Type(), bytes, isSigned, ones, isSigned, constantI32(0));
}

void ThreadBuilder::storeWord(Value word, Value memref, ValueRange indices) {
  Value one = vector::BroadcastOp::create(
      b, loc, VectorType::get({1}, b.getI32Type()), word);
  Value bytes = vector::BitCastOp::create(
      b, loc, VectorType::get({4}, b.getI8Type()), one);
  vector::StoreOp::create(b, loc, bytes, memref, indices,
                          /*nontemporal=*/false, llvm::MaybeAlign(4));
}
Value ThreadBuilder::loadBytes(Value bytes, Value offset, VectorType type) {
  return loadVector(bytes, offset, type);
}
void ThreadBuilder::storeBytesOf(ValueRange scalars, Value bytes,
                                 Value offset) {
  auto type = VectorType::get({int64_t(scalars.size())}, scalars[0].getType());
  auto raw = VectorType::get({sizeOf(type)}, b.getI8Type());
  Value vector = vector::FromElementsOp::create(b, loc, type, scalars);
  vector::StoreOp::create(
      b, loc, vector::BitCastOp::create(b, loc, raw, vector), bytes, offset,
      /*nontemporal=*/false, llvm::MaybeAlign(sizeOf(type)));
}
Value ThreadBuilder::loadIndex(Value bytes, Value offset) {
  Value word = extract(
      loadBytes(bytes, offset, VectorType::get({1}, b.getI32Type())), 0);
  return arith::IndexCastUIOp::create(b, loc, b.getIndexType(), word);
}
Value ThreadBuilder::extract(Value vector, int64_t position) {
  return vector::ExtractOp::create(b, loc, vector, position);
}

Value ThreadBuilder::loadAsF32(Value bytes, Value offset, Type type) {
  return toF32(
      extract(loadBytes(bytes, offset, VectorType::get({1}, type)), 0));
}

void ThreadBuilder::storeF32As(Value x, Value bytes, Value offset, Type type) {
  if (!type.isF32())
    x = arith::TruncFOp::create(b, loc, type, x);
  Value one =
      vector::BroadcastOp::create(b, loc, VectorType::get({1}, type), x);
  int64_t size = type.getIntOrFloatBitWidth() / 8;
  Value raw = vector::BitCastOp::create(
      b, loc, VectorType::get({size}, b.getI8Type()), one);
  vector::StoreOp::create(b, loc, raw, bytes, ValueRange{offset},
                          /*nontemporal=*/false, llvm::MaybeAlign(size));
}

int64_t mlir::tbq::getColumns(Value rows) {
  return cast<MemRefType>(rows.getType()).getShape().back();
}

int64_t mlir::tbq::countBytes(MemRefType type) {
  return type.getNumElements() * type.getElementTypeBitWidth() / 8;
}

Value mlir::tbq::getBytes(ThreadBuilder &t, Value packed) {
  int64_t bytes = cast<PackedType>(packed.getType()).getLayout().getBytes();
  return PackedBytesOp::create(
      t.b, t.loc, MemRefType::get({bytes}, t.b.getI8Type()), packed);
}

Value ThreadBuilder::getShared(StringRef name, int64_t floats) {
  auto type = MemRefType::get({floats}, b.getF32Type(), AffineMap(),
                              b.getI64IntegerAttr(kSharedMemory));
  std::string symbol = ("tbq_shared_" + name).str();
  if (!module.lookupSymbol(symbol)) {
    OpBuilder top = OpBuilder::atBlockBegin(module.getBody());
    memref::GlobalOp::create(top, loc, symbol, top.getStringAttr("private"),
                             type, top.getUnitAttr(), /*constant=*/false,
                             top.getI64IntegerAttr(16));
  }
  return memref::GetGlobalOp::create(b, loc, type, symbol);
}

Value ThreadBuilder::getWorkerMemory() {
  // MarkKernels takes the size away, so it may be any that is enough.
  auto type = MemRefType::get({kMostShared}, b.getI8Type(), AffineMap(),
                              b.getI64IntegerAttr(kSharedMemory));
  if (!module.lookupSymbol(kWorkerMemory)) {
    OpBuilder top = OpBuilder::atBlockBegin(module.getBody());
    memref::GlobalOp::create(top, module.getLoc(), kWorkerMemory,
                             top.getStringAttr("private"), type,
                             top.getUnitAttr(), /*constant=*/false,
                             top.getI64IntegerAttr(kScratchAlignment));
  }
  return memref::GetGlobalOp::create(b, loc, type, kWorkerMemory);
}

int64_t ThreadBuilder::getScratchOffset() {
  auto end = function->getAttrOfType<IntegerAttr>(kWorkerEnd);
  // A load of the own buffers may reach past their end by a vector.
  return end && end.getInt()
             ? llvm::alignTo(end.getInt() + kAlignment, kScratchAlignment)
             : 0;
}

int64_t ThreadBuilder::countScratch(int64_t most) {
  return most - kDeclaredShared - getScratchOffset();
}

Value ThreadBuilder::getScratch(int64_t bytes) {
  int64_t offset = getScratchOffset(), launched = offset + bytes;
  if (auto before = module->getAttrOfType<IntegerAttr>(kLaunchedBytes))
    launched = std::max(launched, before.getInt());
  module->setAttr(kLaunchedBytes, b.getI64IntegerAttr(launched));
  auto type = MemRefType::get({bytes}, b.getI8Type(), AffineMap(),
                              b.getI64IntegerAttr(kSharedMemory));
  return memref::ViewOp::create(b, loc, type, getWorkerMemory(), index(offset),
                                ValueRange());
}

Value ThreadBuilder::getAddress(Value memref, Value offset) {
  return add(memref::ExtractAlignedPointerAsIndexOp::create(b, loc, memref),
             offset);
}

void ThreadBuilder::copy(Value from, Value fromOffset, Value to, Value toOffset,
                         int64_t bytes) {
  copy(getAddress(from, fromOffset), to, toOffset, bytes);
}
void ThreadBuilder::copy(Value address, Value to, Value toOffset,
                         int64_t bytes) {
  auto toPointer = [&](Value at, unsigned space) -> Value {
    Value number = arith::IndexCastOp::create(b, loc, b.getI64Type(), at);
    return LLVM::IntToPtrOp::create(
        b, loc, LLVM::LLVMPointerType::get(b.getContext(), space), number);
  };
  // Sixteen go past the cache of the processor, which four may not.
  NVVM::CpAsyncOp::create(b, loc,
                          toPointer(getAddress(to, toOffset), kSharedMemory),
                          toPointer(address, kGlobalMemory), bytes,
                          bytes == 16 ? NVVM::LoadCacheModifierKind::CG
                                      : NVVM::LoadCacheModifierKind::CA,
                          /*cpSize=*/Value());
}
void ThreadBuilder::commitCopies() {
  NVVM::CpAsyncCommitGroupOp::create(b, loc);
}
void ThreadBuilder::waitForCopies(int64_t pending) {
  NVVM::CpAsyncWaitGroupOp::create(b, loc, pending);
}
