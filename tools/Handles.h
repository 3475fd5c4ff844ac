// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The opaque objects of runtime/tbq.h, each destroyed with its owner.
#ifndef TBQ_TOOLS_HANDLES_H
#define TBQ_TOOLS_HANDLES_H

#include "runtime/tbq.h"

#include <memory>

namespace tbq {

template <auto destroy> struct Destroy {
  template <class T> void operator()(T *object) const { destroy(object); }
};
using ModelHandle = std::unique_ptr<tbq_model, Destroy<tbq_model_destroy>>;
using SessionHandle =
    std::unique_ptr<tbq_session, Destroy<tbq_session_destroy>>;
using SamplerHandle =
    std::unique_ptr<tbq_sampler, Destroy<tbq_sampler_destroy>>;
using StreamHandle = std::unique_ptr<tbq_stream, Destroy<tbq_stream_destroy>>;

} // namespace tbq

#endif // TBQ_TOOLS_HANDLES_H
