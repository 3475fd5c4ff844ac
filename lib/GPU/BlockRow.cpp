// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See BlockRow.h.

#include "BlockRow.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

BlockRow::BlockRow(ThreadBuilder &t, int64_t columns)
    : t(t), columns(columns), padded(llvm::alignTo(columns, kLanes)),
      vectors(llvm::divideCeil(padded, kBlockColumns)) {}

void BlockRow::inItsWarps(llvm::function_ref<void()> body) {
  int64_t own = llvm::divideCeil(padded, kWarpColumns);
  if (own >= kWarps)
    return body();
  warps = own;
  t.ifWarp(t.less(t.warp(), t.index(own)), body, [&] { t.leaveReductions(); });
  warps = kWarps;
}

std::pair<Value, Value> BlockRow::getColumn(int64_t number) {
  Value column = t.add(t.mul(t.thread(), kVector), number * kBlockColumns);
  if ((number + 1) * kBlockColumns <= padded)
    return {column, Value()};
  return {t.min(column, t.index(padded - kVector)),
          t.less(column, t.index(padded))};
}

void BlockRow::ifExists(int64_t number, llvm::function_ref<void(Value)> body) {
  std::pair<Value, Value> column = getColumn(number);
  if (column.second)
    t.ifThen(column.second, [&] { body(column.first); });
  else
    body(column.first);
}

static void extractAll(ThreadBuilder &t, Value vector,
                       SmallVector<Value> &elements) {
  int64_t size = cast<VectorType>(vector.getType()).getNumElements();
  for (int64_t i = 0; i < size; ++i)
    elements.push_back(t.extract(vector, i));
}

SmallVector<Value> BlockRow::load(Value rows, Value token) {
  auto type = VectorType::get({kVector}, t.b.getF32Type());
  SmallVector<Value> elements;
  for (int64_t number = 0; number < vectors; ++number)
    extractAll(t, t.loadVector(rows, {token, getColumn(number).first}, type),
               elements);
  return mask(elements);
}

SmallVector<Value> BlockRow::load(Value bytes) {
  auto type = VectorType::get({kVector}, t.b.getF32Type());
  SmallVector<Value> elements;
  for (int64_t number = 0; number < vectors; ++number)
    extractAll(t, t.loadBytes(bytes, t.mul(getColumn(number).first, 4), type),
               elements);
  return elements;
}

SmallVector<Value> BlockRow::load(RowExchange &exchange) {
  SmallVector<Value> elements;
  for (int64_t number = 0; number < vectors; ++number)
    elements.append(load(exchange, number));
  return elements;
}

SmallVector<Value> BlockRow::load(RowExchange &exchange, int64_t number) {
  SmallVector<Value> elements;
  extractAll(t, exchange.loadFour(getColumn(number).first), elements);
  mask(number, elements);
  return elements;
}

SmallVector<Value> BlockRow::mask(SmallVector<Value> elements) {
  for (int64_t number = 0; number < vectors; ++number)
    mask(number, MutableArrayRef(elements).slice(number * kVector, kVector));
  return elements;
}

void BlockRow::mask(int64_t number, MutableArrayRef<Value> elements) {
  if ((number + 1) * kBlockColumns <= columns)
    return;
  Value zero = t.constant(0.0f);
  Value first = t.add(t.mul(t.thread(), kVector), number * kBlockColumns);
  Value exists = t.less(first, t.index(columns)); // all four, or none
  for (auto [i, element] : llvm::enumerate(elements)) {
    if (columns % kVector)
      exists = t.less(t.add(first, i), t.index(columns));
    element = t.select(exists, element, zero);
  }
}

void BlockRow::store(ArrayRef<Value> elements, Value rows, Value token) {
  for (int64_t number = 0; number < vectors; ++number)
    ifExists(number, [&](Value column) {
      t.storeVector(elements.slice(number * kVector, kVector), rows,
                    {token, column});
    });
}

void BlockRow::storeBytes(ArrayRef<Value> words, Value rows, Place place,
                          std::optional<BitColumns> bits) {
  static_assert(BitColumns::kTogether == kWarpColumns);
  Value first = t.mul(t.thread(), kVector);
  for (auto [number, each] : llvm::enumerate(words)) {
    Value word = each;
    if (!bits) {
      ifExists(number,
               [&](Value column) { t.storeWord(word, rows, place(column)); });
      continue;
    }
    // By whole warps: what they have past the row's end is 0.
    int64_t end = llvm::alignTo(columns, kWarpColumns);
    int64_t before = number * kBlockColumns;
    Value exists = before + kBlockColumns <= end
                       ? Value()
                       : t.less(t.add(first, before), t.index(end));
    t.ifThen(exists, [&] {
      SmallVector<Value> at = place(first);
      at.back() = t.add(at.back(), before); // which are whole words together
      t.storeWord(bits->transpose(t, word), rows, at);
    });
  }
}

Value BlockRow::combine(Reduction reduction, ArrayRef<Value> elements) {
  Value part = elements.front();
  for (Value element : elements.drop_front())
    part = t.combine(reduction, part, element);
  return part;
}

SmallVector<Value> BlockRow::sumVectors(ArrayRef<Value> elements) {
  auto sum = [&](Value x, Value y) { return t.combine(Reduction::Sum, x, y); };
  SmallVector<Value> sums;
  for (int64_t number = 0; number < vectors; ++number) {
    ArrayRef<Value> vector = elements.slice(number * kVector, kVector);
    sums.push_back(sum(sum(vector[0], vector[1]), sum(vector[2], vector[3])));
  }
  return sums;
}

Value BlockRow::getNumber(int64_t number, int64_t columns) {
  return t.add(t.div(t.mul(t.thread(), kVector), columns),
               number * (kBlockColumns / columns));
}

void BlockRow::sumGroups(ArrayRef<Value> ofVectors, int64_t group, Store store,
                         llvm::function_ref<Value(Value)> getStored) {
  // A row that is one group may as well be one of more columns.
  if (group >= columns)
    group = columns <= kWarpColumns
                ? std::max<int64_t>(llvm::PowerOf2Ceil(columns), kVector)
                : llvm::alignTo(columns, kWarpColumns);
  int64_t part = std::min<int64_t>(group & -group, kWarpColumns);
  if (part < kVector || (part < group && part < kWarpLanes))
    return sumStored(group, store, ofVectors.front().getType(), getStored);
  if (part < group)
    return sumParts(ofVectors, part, group, store);
  Value first = t.mul(t.thread(), kVector);
  for (auto [number, own] : llvm::enumerate(ofVectors)) {
    Value sum = t.reduceWarp(Reduction::Sum, own, group / kVector);
    Value begins = t.equal(t.rem(first, group), 0);
    int64_t before = number * kBlockColumns;
    if (before + kBlockColumns > columns)
      begins = t.both(begins, t.less(t.add(first, before), t.index(columns)));
    t.ifThen(begins,
             [&, number = number] { store(sum, getNumber(number, group)); });
  }
}

void BlockRow::sumParts(ArrayRef<Value> ofVectors, int64_t part, int64_t group,
                        Store store) {
  int64_t parts = vectors * kBlockColumns / part;
  Type type = ofVectors.front().getType();
  Value shared = t.getShared("parts_" + std::to_string(parts), parts);
  Value begins = t.equal(t.rem(t.mul(t.thread(), kVector), part), 0);
  for (auto [number, own] : llvm::enumerate(ofVectors)) {
    Value sum = t.reduceWarp(Reduction::Sum, own, part / kVector);
    t.ifThen(begins, [&, number = number] {
      t.store(t.bitcast(sum, t.b.getF32Type()), shared,
              {getNumber(number, part)});
    });
  }
  t.synchronize();
  int64_t groups = llvm::divideCeil(columns, group), inGroup = group / part;
  t.loop(t.thread(), t.index(groups), t.index(kThreads), [&](Value number) {
    Value first = t.mul(number, inGroup);
    auto load = [&](Value at) { return t.bitcast(t.load(shared, {at}), type); };
    Value last =
        t.min(t.add(first, inGroup), t.index(llvm::divideCeil(columns, part)));
    Value sum = t.loop(t.add(first, 1), last, t.index(1), {load(first)},
                       [&](Value at, ValueRange before) {
                         return SmallVector<Value>{
                             t.combine(Reduction::Sum, before[0], load(at))};
                       })[0];
    store(sum, number);
  });
}

/// Groups of any size, a warp each.
void BlockRow::sumStored(int64_t group, Store store, Type type,
                         llvm::function_ref<Value(Value)> getStored) {
  Value zero = type.isF32() ? t.constant(0.0f) : t.constantI32(0);
  int64_t groups = llvm::divideCeil(columns, group);
  t.synchronize();
  t.loop(t.warp(), t.index(groups), t.index(warps), [&](Value number) {
    Value first = t.mul(number, group);
    Value last = t.min(t.add(first, group), t.index(columns));
    Value part = t.loop(t.add(first, t.lane()), last, t.index(kWarpLanes),
                        {zero}, [&](Value column, ValueRange before) {
                          return SmallVector<Value>{t.combine(
                              Reduction::Sum, before[0], getStored(column))};
                        })[0];
    Value sum = t.reduceWarp(Reduction::Sum, part);
    t.ifThen(t.equal(t.lane(), 0), [&] { store(sum, number); });
  });
}
