// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Evaluates tbq.weights, one placed weight at a time, in the order of offsets.
// Input: the op and the checkpoint its names refer to; output: a stream of
// bytes.
// Invariant: a tensor is used only after the checkpoint confirmed the type and
// shape that the op gives it; its pages are given back once it is packed.

#include "tbq/WeightWriter.h"

#include "tbq/ClosedForm.h"
#include "tbq/IR/PackBytes.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::DType;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;
using ::tbq::TensorView;

/// Bytes handed on at a time, unless one tile is larger.
static constexpr int64_t kChunkBytes = 1 << 20;

namespace {
/// One weight, ready to be packed.
struct Source {
  PackSource parts;
  /// Tensors the parts lie in.
  SmallVector<const TensorView *, 4> tensors;
  /// Parts that were computed.
  std::vector<uint8_t> planes[2];
  std::vector<uint16_t> coefficients[2];
  std::vector<float> table;
};

class SectionWriter {
public:
  using Sink = llvm::function_ref<Status(ArrayRef<uint8_t>)>;
  SectionWriter(const Checkpoint &checkpoint, Sink sink)
      : checkpoint(checkpoint), sink(sink) {}

  Status place(PlaceOp op);
  /// Zeros up to `offset` of the section.
  Status fillTo(int64_t offset, StringRef what);

private:
  Result<const TensorView *> find(WeightOp op);
  Result<const uint8_t *> readMatrix(Value operand, Source &source);
  Result<const TensorView *> use(Value operand, Source &source);
  Status readWeight(PackOp op, Source &source);
  Status readCoefficients(PackOp op, Source &source);
  Status quantize(QuantizeOp op, LayoutAttr layout, Source &source);
  Status write(ArrayRef<uint8_t> bytes);

  const Checkpoint &checkpoint;
  Sink sink;
  int64_t written = 0;
  std::vector<uint8_t> chunk;
};
} // namespace

static const uint8_t *bytesOf(const void *memory) {
  return static_cast<const uint8_t *>(memory);
}

static DType dtypeOf(Type element) {
  if (element.isF32())
    return DType::F32;
  return element.isF16() ? DType::F16 : DType::BF16;
}

static Type elementTypeOf(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getElementType();
}

Status SectionWriter::write(ArrayRef<uint8_t> bytes) {
  written += bytes.size();
  return sink(bytes);
}

Status SectionWriter::fillTo(int64_t offset, StringRef what) {
  if (offset < written)
    return makeError("", what.str(),
                     "lies at byte " + std::to_string(offset) +
                         " of the weights, but what stands before it ends at " +
                         std::to_string(written));
  const std::vector<uint8_t> zeros(std::min(offset - written, kChunkBytes));
  while (written < offset) {
    const size_t count = std::min<int64_t>(offset - written, zeros.size());
    if (Status status = write(ArrayRef(zeros).take_front(count)); !status)
      return status;
  }
  return Status::ok();
}

/// Bits of a digit in each of the planes of a scheme's weights.
static ArrayRef<int64_t> getDigitBits(Scheme scheme) {
  static constexpr int64_t one[] = {1, 1}, two[] = {2}, four[] = {4},
                           eight[] = {8};
  switch (scheme) {
  case Scheme::Ternary:
    return two;
  case Scheme::DualBinary:
    return one;
  case Scheme::Binary:
  case Scheme::SalientMask:
    return ArrayRef(one).take_front();
  case Scheme::Int8:
    return eight;
  case Scheme::Int4:
    return four;
  }
  llvm_unreachable("all schemes are named");
}

static int64_t getRowBytes(int64_t columns, int64_t bits) {
  return (columns * bits + 7) / 8;
}

/// The tensor an op names, of the type and shape the op gives it. Digits of
/// several bits are one matrix, planes of bits a tensor of as many matrices.
Result<const TensorView *> SectionWriter::find(WeightOp op) {
  const std::string name = op.getName().str();
  if (auto digits = dyn_cast<DigitsType>(op.getType())) {
    ArrayRef<int64_t> bits = getDigitBits(digits.getScheme());
    std::vector<int64_t> shape{digits.getRows(),
                               getRowBytes(digits.getColumns(), bits[0])};
    if (bits[0] == 1)
      shape.insert(shape.begin(), bits.size());
    const bool isSigned = digits.getScheme() == Scheme::Int8;
    return checkpoint.require(name, {isSigned ? DType::I8 : DType::U8}, shape);
  }
  auto type = cast<RankedTensorType>(op.getType());
  Type element = type.getElementType();
  if (!element.isF32() && !element.isF16() && !element.isBF16())
    return makeError("", name, "is neither f32, f16 nor bf16");
  std::vector<int64_t> shape = type.getShape().vec();
  if (std::optional<uint64_t> plane = op.getPlane()) {
    const TensorView *stored = checkpoint.find(name);
    const int64_t planes = stored && stored->shape.size() == shape.size() + 1
                               ? stored->shape[0]
                               : 0;
    if (stored && *plane >= uint64_t(planes))
      return makeError(stored->file, name,
                       "has no plane " + std::to_string(*plane));
    shape.insert(shape.begin(), planes);
  }
  return checkpoint.require(name, {dtypeOf(element)}, shape);
}

/// An operand of a pack that must come from the checkpoint as it is.
Result<const TensorView *> SectionWriter::use(Value operand, Source &source) {
  auto op = operand.getDefiningOp<WeightOp>();
  if (!op)
    return makeError(
        "", "tbq.weights",
        "an operand of tbq.pack is not a tensor of the checkpoint");
  auto tensor = find(op);
  if (tensor)
    source.tensors.push_back(*tensor);
  return tensor;
}

/// The elements of such an operand: of its plane, where it has one.
Result<const uint8_t *> SectionWriter::readMatrix(Value operand,
                                                  Source &source) {
  auto tensor = use(operand, source);
  if (!tensor)
    return tensor.error();
  const auto plane = operand.getDefiningOp<WeightOp>().getPlane();
  const TensorView &whole = **tensor;
  return plane ? whole.data + *plane * (whole.bytes / whole.shape[0])
               : whole.data;
}

void mlir::tbq::fillRopeRow(int64_t position, ArrayRef<float> frequencies,
                            float *row) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float angle = static_cast<float>(position) * frequencies[i];
    row[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
    row[frequencies.size() + i] =
        static_cast<float>(std::sin(static_cast<double>(angle)));
  }
}

static auto getQuantizer(Scheme scheme) {
  switch (scheme) {
  case Scheme::Ternary:
    return ::tbq::quantizeTernary;
  case Scheme::Binary:
    return ::tbq::quantizeBinary;
  case Scheme::DualBinary:
    return ::tbq::quantizeDualBinary;
  case Scheme::Int8:
    return ::tbq::quantizeInt8;
  case Scheme::Int4:
    return ::tbq::quantizeInt4;
  case Scheme::SalientMask:
    break;
  }
  llvm_unreachable("the verifier of tbq.quantize refuses a mask");
}

/// Makes digits and coefficients of a float matrix, some rows at a time.
Status SectionWriter::quantize(QuantizeOp op, LayoutAttr layout,
                               Source &source) {
  auto matrix = use(op.getWeight(), source);
  if (!matrix)
    return matrix.error();
  const TensorView &tensor = **matrix;
  if (int64_t(op.getGroup()) != layout.getGroup())
    return makeError(
        tensor.file, tensor.name,
        "is quantised in groups of " + std::to_string(op.getGroup()) +
            ", but packed in groups of " + std::to_string(layout.getGroup()));
  const int64_t rows = layout.getRows(), columns = layout.getColumns();
  ::tbq::QuantizedMatrix quantized{columns, layout.getGroup(), {}, {}};
  for (auto [i, bits] : llvm::enumerate(layout.getDigits())) {
    source.planes[i].resize(rows * getRowBytes(columns, bits));
    quantized.planes[i] = source.planes[i].data();
    source.parts.planes.push_back(source.planes[i].data());
  }
  for (size_t i = 0; i < op.getCoefficients().size(); ++i) {
    source.coefficients[i].resize(rows * layout.getNumGroups());
    quantized.coefficients[i] = source.coefficients[i].data();
  }
  const int64_t most = std::max<int64_t>(1, kChunkBytes / (4 * columns));
  std::vector<float> weights;
  for (int64_t row = 0; row < rows; row += most) {
    const int64_t count = std::min(most, rows - row);
    weights.resize(count * columns);
    readFloats(tensor, row * columns, count * columns, weights.data());
    Status status =
        getQuantizer(op.getScheme())(weights.data(), row, count, quantized);
    if (!status)
      return makeError(tensor.file, tensor.name, status.error().message);
  }
  return Status::ok();
}

/// Elements or digits.
Status SectionWriter::readWeight(PackOp op, Source &source) {
  LayoutAttr layout = op.getType().getLayout();
  if (auto table = op.getWeight().getDefiningOp<RopeTableOp>()) {
    ArrayRef<float> frequencies = table.getInvFreq();
    const int64_t width = 2 * frequencies.size();
    source.table.resize(layout.getRows() * layout.getColumns());
    for (int64_t p = 0; p < cast<ShapedType>(table.getType()).getDimSize(0);
         ++p)
      fillRopeRow(p, frequencies, source.table.data() + p * width);
    source.parts.elements = bytesOf(source.table.data());
    source.parts.elementType = elementTypeOf(op.getWeight());
    return Status::ok();
  }
  if (auto digits = dyn_cast<DigitsType>(op.getWeight().getType());
      digits && layout.getDigits() != getDigitBits(digits.getScheme()))
    return makeError("", "tbq.weights",
                     stringifyScheme(digits.getScheme()).str() +
                         " digits are packed into planes of other widths");
  if (auto quantizeOp = op.getWeight().getDefiningOp<QuantizeOp>())
    return quantize(quantizeOp, layout, source);
  auto matrix = readMatrix(op.getWeight(), source);
  if (!matrix)
    return matrix.error();
  if (layout.isFloat()) {
    source.parts.elements = *matrix;
    source.parts.elementType = elementTypeOf(op.getWeight());
    return Status::ok();
  }
  for (int64_t bits : layout.getDigits()) {
    source.parts.planes.push_back(*matrix);
    *matrix += layout.getRows() * getRowBytes(layout.getColumns(), bits);
  }
  return Status::ok();
}

/// Coefficients, in the order of the layout's terms, and bias.
Status SectionWriter::readCoefficients(PackOp op, Source &source) {
  for (Value coefficient : op.getCoefficients()) {
    if (auto quantizeOp = coefficient.getDefiningOp<QuantizeOp>()) {
      if (quantizeOp != op.getWeight().getDefiningOp())
        return makeError("", "tbq.weights",
                         "digits and coefficients of one weight come from two "
                         "quantisations");
      // The digits are result 0.
      const unsigned number = cast<OpResult>(coefficient).getResultNumber() - 1;
      source.parts.coefficients.push_back(
          bytesOf(source.coefficients[number].data()));
      continue;
    }
    auto matrix = readMatrix(coefficient, source);
    if (!matrix)
      return matrix.error();
    source.parts.coefficients.push_back(*matrix);
  }
  if (!op.getBias())
    return Status::ok();
  auto bias = readMatrix(op.getBias(), source);
  if (!bias)
    return bias.error();
  source.parts.bias = *bias;
  source.parts.biasType = elementTypeOf(op.getBias());
  return Status::ok();
}

Status SectionWriter::place(PlaceOp op) {
  auto pack = op.getWeight().getDefiningOp<PackOp>();
  if (!pack)
    return makeError("", op.getName().str(), "is placed but not packed");
  if (Status status = fillTo(op.getOffset(), op.getName()); !status)
    return status;
  Source source;
  if (Status status = readWeight(pack, source); !status)
    return status;
  if (Status status = readCoefficients(pack, source); !status)
    return status;
  LayoutAttr layout = pack.getType().getLayout();
  const int64_t tiles = layout.getNumTiles(), tileBytes = layout.getTileBytes();
  const int64_t most = std::max<int64_t>(1, kChunkBytes / tileBytes);
  for (int64_t tile = 0; tile < tiles; tile += most) {
    const int64_t count = std::min(most, tiles - tile);
    chunk.resize(count * tileBytes);
    packTiles(layout, source.parts, tile, count, chunk.data());
    if (Status status = write(chunk); !status)
      return status;
  }
  for (const TensorView *tensor : source.tensors)
    checkpoint.dropPages(*tensor);
  return Status::ok();
}

Status
mlir::tbq::writeWeights(WeightsOp weights, const Checkpoint &checkpoint,
                        llvm::function_ref<Status(ArrayRef<uint8_t>)> sink) {
  SectionWriter writer(checkpoint, sink);
  auto places = llvm::to_vector(weights.getBody().getOps<PlaceOp>());
  llvm::sort(places, [](PlaceOp a, PlaceOp b) {
    return a.getOffset() < b.getOffset();
  });
  for (PlaceOp op : places)
    if (Status status = writer.place(op); !status)
      return status;
  return writer.fillTo(weights.getBytes(), "the end");
}
