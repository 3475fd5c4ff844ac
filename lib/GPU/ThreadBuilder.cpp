// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ThreadBuilder.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

//===----------------------------------------------------------------------===//
// Scalars
//===----------------------------------------------------------------------===//

Value ThreadBuilder::min(Value x, Value y) {
  return arith::MinSIOp::create(b, loc, x, y);
}
Value ThreadBuilder::less(Value x, Value y) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, x, y);
}
Value ThreadBuilder::same(Value x, Value y) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x, y);
}
Value ThreadBuilder::both(Value x, Value y) {
  return arith::AndIOp::create(b, loc, x, y);
}
Value ThreadBuilder::either(Value x, Value y) {
  return arith::OrIOp::create(b, loc, x, y);
}
Value ThreadBuilder::select(Value condition, Value x, Value y) {
  return arith::SelectOp::create(b, loc, condition, x, y);
}
Value ThreadBuilder::exclusiveOr(Value x, Value y) {
  return arith::XOrIOp::create(b, loc, x, y);
}
Value ThreadBuilder::toI32(Value index) {
  return arith::IndexCastOp::create(b, loc, b.getI32Type(), index);
}
Value ThreadBuilder::toIndex(Value i32) {
  return arith::IndexCastUIOp::create(b, loc, b.getIndexType(), i32);
}

Value ThreadBuilder::bitcast(Value x, Type type) {
  return x.getType() == type
             ? x
             : arith::BitcastOp::create(b, loc, type, x).getResult();
}

Value ThreadBuilder::fma(Value x, Value y, Value z) {
  return math::FmaOp::create(b, loc, x, y, z);
}
Value ThreadBuilder::maxf(Value x, Value y) {
  return arith::MaxNumFOp::create(b, loc, x, y);
}
Value ThreadBuilder::maximum(Value x, Value y) {
  return arith::MaximumFOp::create(b, loc, x, y);
}
Value ThreadBuilder::isNaN(Value x) {
  return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNO, x, x);
}
Value ThreadBuilder::exp(Value x) { return math::ExpOp::create(b, loc, x); }
Value ThreadBuilder::exp2(Value x) {
  return LLVM::CallIntrinsicOp::create(
             b, loc, b.getF32Type(),
             b.getStringAttr("llvm.nvvm.ex2.approx.ftz.f32"), x)
      .getResult(0);
}

Value ThreadBuilder::divideNear(Value x, Value y) {
  // Each step takes what is left, exactly, and halves its bits at least.
  Value less = arith::NegFOp::create(b, loc, y), guess = inverse(y);
  guess = fma(guess, fma(less, guess, constant(1.0f)), guess);
  Value result = mulf(x, guess);
  for (int64_t step = 0; step < 2; ++step)
    result = fma(fma(less, result, x), guess, result);
  return result;
}
Value ThreadBuilder::inverse(Value x) {
  return NVVM::RcpApproxFtzF32Op::create(b, loc, b.getF32Type(), x);
}
Value ThreadBuilder::inverseRoot(Value x) {
  return LLVM::CallIntrinsicOp::create(
             b, loc, b.getF32Type(),
             b.getStringAttr("llvm.nvvm.rsqrt.approx.ftz.f"), x)
      .getResult(0);
}

Value ThreadBuilder::toF32(Value x) {
  Type type = x.getType();
  if (type.isInteger(32))
    return arith::SIToFPOp::create(b, loc, b.getF32Type(), x);
  return type.isF32()
             ? x
             : arith::ExtFOp::create(b, loc, b.getF32Type(), x).getResult();
}

Value ThreadBuilder::roundBelow(Value x) {
  // From 2^23 on a float's last bit is 1.
  return bitcast(addf(x, constant(3.0f * (1 << 22))), b.getI32Type());
}

Value ThreadBuilder::shiftRight(Value word, int64_t bits) {
  return bits ? arith::ShRUIOp::create(b, loc, word, constantI32(bits))
                    .getResult()
              : word;
}
Value ThreadBuilder::shiftLeft(Value word, int64_t bits) {
  return bits ? arith::ShLIOp::create(b, loc, word, constantI32(bits))
                    .getResult()
              : word;
}
Value ThreadBuilder::shiftRight(Value word, Value bits) {
  return arith::ShRUIOp::create(b, loc, word, bits);
}
Value ThreadBuilder::shiftLeft(Value word, Value bits) {
  return arith::ShLIOp::create(b, loc, word, bits);
}
Value ThreadBuilder::rotateLeft(Value word, Value bits) {
  return LLVM::FshlOp::create(b, loc, word, word, bits);
}
Value ThreadBuilder::andBits(Value word, uint32_t mask) {
  return mask == ~0u
             ? word
             : arith::AndIOp::create(b, loc, word, constantI32(int32_t(mask)))
                   .getResult();
}

/// The lane's four sums of a product.
static SmallVector<Value> takeFour(ThreadBuilder &t, Value products) {
  SmallVector<Value> sums;
  for (int64_t i = 0; i < 4; ++i)
    sums.push_back(LLVM::ExtractValueOp::create(t.b, t.loc, products, i));
  return sums;
}

SmallVector<Value> ThreadBuilder::multiplyBytes(ArrayRef<Value> digits,
                                                ArrayRef<Value> activations,
                                                ArrayRef<Value> sums) {
  Type i32 = b.getI32Type();
  auto type = LLVM::LLVMStructType::getLiteral(b.getContext(),
                                               SmallVector<Type>(4, i32));
  Value products = NVVM::MmaOp::create(
      b, loc, type, digits, activations, sums, {16, 8, 32}, std::nullopt,
      NVVM::MMAIntOverflow::wrapped,
      std::array{NVVM::MMATypes::u8, NVVM::MMATypes::s8},
      std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
  return takeFour(*this, products);
}

SmallVector<Value> ThreadBuilder::multiplyBits(ArrayRef<Value> rows,
                                               ArrayRef<Value> columns,
                                               ArrayRef<Value> sums) {
  auto type = LLVM::LLVMStructType::getLiteral(
      b.getContext(), SmallVector<Type>(4, b.getI32Type()));
  Value counts = NVVM::MmaOp::create(
      b, loc, type, rows, columns, sums, {16, 8, 128 * int64_t(columns.size())},
      NVVM::MMAB1Op::and_popc, std::nullopt,
      std::array{NVVM::MMATypes::b1, NVVM::MMATypes::b1},
      std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
  return takeFour(*this, counts);
}

/// A word as two f16.
static Value toTwo(ThreadBuilder &t, Value word) {
  return LLVM::BitcastOp::create(t.b, t.loc,
                                 VectorType::get({2}, t.b.getF16Type()), word);
}

SmallVector<Value> ThreadBuilder::multiplyHalves(ArrayRef<Value> rows,
                                                 ArrayRef<Value> columns,
                                                 ArrayRef<Value> sums) {
  auto toHalves = [&](Value word) { return toTwo(*this, word); };
  SmallVector<Value> left = llvm::map_to_vector(rows, toHalves);
  SmallVector<Value> right = llvm::map_to_vector(columns, toHalves);
  auto type = LLVM::LLVMStructType::getLiteral(
      b.getContext(), SmallVector<Type>(4, b.getF32Type()));
  Value products = NVVM::MmaOp::create(
      b, loc, type, left, right, sums, {16, 8, 8 * int64_t(columns.size())},
      std::nullopt, std::nullopt,
      std::array{NVVM::MMATypes::f16, NVVM::MMATypes::f16},
      std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
  return takeFour(*this, products);
}

Value ThreadBuilder::packHalves(Value x, Value y) {
  Type half = b.getF16Type();
  SmallVector<Value> halves;
  for (Value each : {x, y})
    halves.push_back(each.getType() == half
                         ? each
                         : arith::TruncFOp::create(b, loc, half, each));
  Value two = vector::FromElementsOp::create(b, loc, VectorType::get({2}, half),
                                             halves);
  return LLVM::BitcastOp::create(b, loc, b.getI32Type(), two);
}

/// Of a word's two f16.
template <typename OpType>
static Value combineHalves(ThreadBuilder &t, Value word, float x) {
  auto type = VectorType::get({2}, t.b.getF16Type());
  APFloat half(x);
  bool losesInfo;
  half.convert(APFloat::IEEEhalf(), APFloat::rmNearestTiesToEven, &losesInfo);
  Value two =
      arith::ConstantOp::create(t.b, t.loc, DenseElementsAttr::get(type, half));
  return LLVM::BitcastOp::create(
      t.b, t.loc, t.b.getI32Type(),
      OpType::create(t.b, t.loc, toTwo(t, word), two));
}

SmallVector<Value> ThreadBuilder::getHalves(Value word) {
  Value two = toTwo(*this, word);
  return {extract(two, 0), extract(two, 1)};
}

Value ThreadBuilder::addHalves(Value word, float x) {
  return combineHalves<arith::AddFOp>(*this, word, x);
}

Value ThreadBuilder::scaleHalves(Value word, float x) {
  return combineHalves<arith::MulFOp>(*this, word, x);
}

Value ThreadBuilder::packLow(Value x, Value y) {
  return arith::OrIOp::create(b, loc, andBits(x, 0xffff), shiftLeft(y, 16));
}

std::pair<Value, Value> ThreadBuilder::splitHalves(Value x, Value y) {
  auto round = [&](Value each) -> Value {
    return arith::TruncFOp::create(b, loc, b.getF16Type(), each);
  };
  Value low = round(x), high = round(y);
  return {packHalves(low, high),
          packHalves(subf(x, toF32(low)), subf(y, toF32(high)))};
}

Value ThreadBuilder::choose(Value mask, Value x, Value y) {
  Value different = arith::XOrIOp::create(b, loc, x, y);
  return arith::XOrIOp::create(
      b, loc, arith::AndIOp::create(b, loc, different, mask), y);
}

Value mlir::tbq::getAt(OpBuilder &b, Value value, IRMapping &copies) {
  Operation *op = value.getDefiningOp();
  if (!op || copies.contains(value) ||
      op->isBeforeInBlock(&*b.getInsertionPoint()))
    return copies.lookupOrDefault(value);
  for (Value operand : op->getOperands())
    copies.map(operand, getAt(b, operand, copies));
  return b.clone(*op, copies)
      ->getResult(cast<OpResult>(value).getResultNumber());
}

Operation *mlir::tbq::findBarrier(Operation *op) {
  while (op && !isa<BarrierOp>(op))
    op = op->getPrevNode();
  if (op && !op->hasAttr(kWaitsOnly)) {
    UnitAttr half = UnitAttr::get(op->getContext());
    OpBuilder(op).clone(*op)->setAttr(kArrivesOnly, half);
    op->setAttr(kWaitsOnly, half);
  }
  return op;
}

//===----------------------------------------------------------------------===//
// The thread, its warp and its block
//===----------------------------------------------------------------------===//

Value ThreadBuilder::thread() {
  if (renewed)
    return renewed;
  Value id = NVVM::ThreadIdXOp::create(
      b, loc, b.getI32Type(),
      LLVM::ConstantRangeAttr::get(b.getContext(), llvm::APInt(32, 0),
                                   llvm::APInt(32, kThreads)));
  return arith::IndexCastUIOp::create(b, loc, b.getIndexType(), id);
}

Value ThreadBuilder::inAnyLane(Value condition) {
  return NVVM::VoteSyncOp::create(b, loc, b.getI1Type(), constantI32(-1),
                                  condition, NVVM::VoteSyncKind::any);
}

Value ThreadBuilder::hideNumber(Value number) {
  // The lane's own number, from the lane itself.
  Value index = arith::IndexCastUIOp::create(b, loc, b.getIndexType(), number);
  return getFromLane(number, rem(index, kWarpLanes));
}

void ThreadBuilder::renewThread() {
  Value number = NVVM::ThreadIdXOp::create(b, loc, b.getI32Type());
  // Its range is not hidden.
  renewed = toIndex(andBits(hideNumber(number), kThreads - 1));
}

void ThreadBuilder::synchronize() { NVVM::Barrier0Op::create(b, loc); }

void ThreadBuilder::synchronizeWarp() {
  NVVM::SyncWarpOp::create(b, loc, constantI32(-1));
}

SmallVector<Value> ThreadBuilder::loop(Value from, Value to, Value step,
                                       ValueRange init, Body body) {
  auto loop = scf::ForOp::create(
      b, loc, from, to, step, init,
      [&](OpBuilder &inner, Location, Value i, ValueRange carried) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPoint(inner.getInsertionBlock(),
                            inner.getInsertionPoint());
        SmallVector<Value> next = body(i, carried);
        scf::YieldOp::create(b, loc, next);
      });
  return SmallVector<Value>(loop.getResults());
}

void ThreadBuilder::loop(Value from, Value to, Value step,
                         llvm::function_ref<void(Value)> body) {
  loop(from, to, step, ValueRange(), [&](Value i, ValueRange) {
    body(i);
    return SmallVector<Value>();
  });
}

void ThreadBuilder::ifThen(Value condition, llvm::function_ref<void()> body) {
  if (!condition)
    return body();
  scf::IfOp::create(b, loc, condition, [&](OpBuilder &inner, Location) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
    body();
    scf::YieldOp::create(b, loc);
  });
}

SmallVector<Value>
ThreadBuilder::ifElse(Value condition,
                      llvm::function_ref<SmallVector<Value>()> body,
                      llvm::function_ref<Value(Type)> otherwise) {
  if (!condition)
    return body();
  // What an op gives must be known when it is made: its bodies come first.
  auto inBlock = [&](Region &region, llvm::function_ref<void()> build) {
    OpBuilder::InsertionGuard guard(b);
    b.createBlock(&region);
    build();
  };
  SmallVector<Value> values;
  OperationState state(loc, scf::IfOp::getOperationName());
  Region *then = state.addRegion(), *other = state.addRegion();
  state.addOperands(condition);
  inBlock(*then, [&] {
    values = body();
    scf::YieldOp::create(b, loc, values);
  });
  SmallVector<Type> types(ValueRange(values).getTypes());
  inBlock(*other, [&] {
    scf::YieldOp::create(b, loc, llvm::map_to_vector(types, otherwise));
  });
  state.addTypes(types);
  return SmallVector<Value>(b.create(state)->getResults());
}

void ThreadBuilder::ifWarp(Value condition, llvm::function_ref<void()> body,
                           llvm::function_ref<void()> otherwise) {
  auto both = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(both.thenBlock());
  body();
  int64_t meetings =
      llvm::range_size(both.thenBlock()->getOps<NVVM::Barrier0Op>());
  b.setInsertionPointToStart(both.elseBlock());
  otherwise();
  for (int64_t i = 0; i < meetings; ++i)
    synchronize();
}

Value ThreadBuilder::shuffle(Value x, int64_t distance) {
  return NVVM::ShflOp::create(b, loc, x.getType(), constantI32(-1), x,
                              constantI32(distance), constantI32(31),
                              NVVM::ShflKind::bfly, UnitAttr());
}

Value ThreadBuilder::getFromLane(Value x, Value lane) {
  return NVVM::ShflOp::create(b, loc, x.getType(), constantI32(-1), x,
                              toI32(lane), constantI32(31), NVVM::ShflKind::idx,
                              UnitAttr());
}

Value ThreadBuilder::combine(Reduction reduction, Value x, Value y) {
  if (reduction == Reduction::Maximum)
    return maxf(x, y);
  return getElementTypeOrSelf(x).isF32() ? addf(x, y) : add(x, y);
}

Value ThreadBuilder::reduceAllLanes(Value x, NVVM::ReduxKind kind) {
  return NVVM::ReduxOp::create(b, loc, b.getI32Type(), x, kind,
                               constantI32(-1));
}

Value ThreadBuilder::reduceWarp(Reduction reduction, Value x, int64_t lanes) {
  if (lanes == kWarpLanes && x.getType().isInteger(32))
    return reduceAllLanes(x, NVVM::ReduxKind::ADD);
  for (int64_t distance = lanes / 2; distance; distance /= 2)
    x = combine(reduction, x, shuffle(x, distance));
  return x;
}

static Value getReductions(ThreadBuilder &t) {
  return t.getShared("reduction", 2 * kWarps);
}

void ThreadBuilder::leaveReductions() {
  Value shared = getReductions(*this);
  ifThen(equal(lane(), 0), [&] {
    for (int64_t turn = 0; turn < 2; ++turn)
      store(constant(0.0f), shared, {add(warp(), turn * kWarps)});
  });
}

/// Where the parts of a turn's reduction begin. What the one before the last
/// left has been read when all have met at the last.
static int64_t getParts(int64_t turn) { return turn % 2 * kWarps; }

void ThreadBuilder::storePart(Reduction reduction, Value x, int64_t turn) {
  // Floats without a sign are in the order of their bits.
  Value part = reduction == Reduction::Maximum
                   ? bitcast(reduceAllLanes(bitcast(x, b.getI32Type()),
                                            NVVM::ReduxKind::UMAX),
                             b.getF32Type())
                   : reduceWarp(reduction, x);
  Value shared = getReductions(*this);
  ifThen(equal(lane(), 0),
         [&] { store(part, shared, {add(warp(), getParts(turn))}); });
}

Value ThreadBuilder::combineParts(Reduction reduction, int64_t turn) {
  Value shared = getReductions(*this);
  // Halves of the warps' parts, down to one, four of them at a time at first.
  auto type = VectorType::get({4}, b.getF32Type());
  SmallVector<Value> parts;
  for (int64_t i = 0; i < kWarps; i += 4)
    parts.push_back(loadVector(shared, {index(getParts(turn) + i)}, type));
  auto halve = [&] {
    int64_t half = parts.size() / 2;
    for (int64_t i = 0; i < half; ++i)
      parts[i] = combine(reduction, parts[i], parts[half + i]);
    parts.truncate(half);
  };
  while (parts.size() > 1)
    halve();
  Value four = parts[0];
  parts.clear();
  for (int64_t i = 0; i < 4; ++i)
    parts.push_back(extract(four, i));
  while (parts.size() > 1)
    halve();
  return parts[0];
}

Value ThreadBuilder::reduceBlock(Reduction reduction, Value x, int64_t turn) {
  storePart(reduction, x, turn);
  synchronize();
  return combineParts(reduction, turn);
}

std::pair<Value, Value> ThreadBuilder::reduceBoth(Value sum, Value maximum) {
  storePart(Reduction::Sum, sum, 0);
  storePart(Reduction::Maximum, maximum, 1);
  synchronize();
  return {combineParts(Reduction::Sum, 0), combineParts(Reduction::Maximum, 1)};
}

void mlir::tbq::forEachElement(
    ThreadBuilder &t, StepOp op, int64_t columns,
    llvm::function_ref<void(Value token, Value column)> body) {
  int64_t width = op.getUnitsPerToken() * columns;
  Value first = t.add(t.mul(op.getRange()[0], columns), t.thread());
  Value last = t.mul(op.getRange()[1], columns);
  t.loop(first, last, t.index(kThreads), [&](Value element) {
    body(t.div(element, width), t.rem(element, width));
  });
}

void mlir::tbq::forEachToken(ThreadBuilder &t, StepOp op,
                             llvm::function_ref<void(Value token)> body) {
  t.loop(op.getRange()[0], op.getRange()[1], t.index(1), body);
}
