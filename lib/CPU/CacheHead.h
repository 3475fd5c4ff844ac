// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Where one kv head of one layer lies in the cache.
#ifndef TBQ_CPU_CACHEHEAD_H
#define TBQ_CPU_CACHEHEAD_H

#include "VectorBuilder.h"

namespace mlir::tbq {

struct CacheHead {
  CacheHead(VectorBuilder &v, CacheType type, Value layer, Value head)
      : v(v), type(type) {
    Value base = v.mul(layer, type.getLayerBytes());
    keys = v.add(base, v.mul(head, type.getKeyHeadBytes()));
    values = v.add(v.add(base, type.getValuesOffset()),
                   v.mul(head, type.getValueHeadBytes()));
  }
  /// Sixteen keys' values of one feature.
  Value getKeyOffset(Value block, Value feature) {
    Value row = v.add(v.mul(block, type.getHeadDim()), feature);
    return v.add(keys, v.mul(row, kLanes * type.getElementBytes()));
  }
  Value getValueOffset(Value position, int64_t feature) {
    int64_t rowBytes = type.getPaddedHeadDim() * type.getElementBytes();
    return v.add(v.add(values, v.mul(position, rowBytes)),
                 feature * type.getElementBytes());
  }

  VectorBuilder &v;
  CacheType type;
  Value keys, values; // byte offsets
};

} // namespace mlir::tbq

#endif // TBQ_CPU_CACHEHEAD_H
