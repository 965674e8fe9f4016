// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Decompositions of the basic ops and of the hyper-connections: the definitions of the ops (docs of each in V4Ops.td).

#include "dialects/V4Emit.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <cmath>

using namespace mlir;
using namespace mlir::v4;

using Results = FailureOr<SmallVector<Value>>;

/// 0, 1, .., count - 1.
static SmallVector<unsigned> loops(unsigned count) {
  return llvm::to_vector(llvm::seq(0u, count));
}

//===----------------------------------------------------------------------===//
// Rows and norms
//===----------------------------------------------------------------------===//

Results EmbedOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value zero = e.i32(0), last = e.i32(sizeOf(getTable(), 0) - 1);
  return e.repeat(sizeOf(getIds(), 0), e.empty(shapeOf(getResult())),
                  [&](OpFoldResult s, ValueRange y) -> SmallVector<Value> {
                    Value id = e.toIndex(e.clamp(e.at(getIds(), s), zero, last));
                    return {e.copyRow(getTable(), id, y[0], s)};
                  });
}

Results SelectLastOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value last = e.i32(sizeOf(getInput(), 0) - 1);
  Value length = e.at(getSpan(), e.getIndexAttr(1));
  Value row = e.toIndex(e.clamp(e.sub(length, e.i32(1)), e.i32(0), last));
  return SmallVector<Value>{e.copyRow(getInput(), row, e.empty(shapeOf(getResult())), e.getIndexAttr(0))};
}

Results RmsNormOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value x = getInput();
  unsigned last = tensorType(x).getRank() - 1;
  SmallVector<unsigned> all = loops(last + 1), rows = loops(last);
  int64_t width = shapeOf(x).back();

  Value squares = e.contract({x, all}, {x, all}, {e.filled(shapeOf(x).drop_back(), e.f32(0)), rows}, last);
  Value scale = e.map(squares, e.empty(shapeOf(squares)),
                      [&](ValueRange args) { return e.inverseRoot(args[0], width, getEps()); });
  SmallVector<Arg> inputs = {{x, all}, {scale, rows}};
  if (getWeight())
    inputs.push_back({getWeight(), {last}});
  return SmallVector<Value>{e.generic(inputs, {e.empty(shapeOf(x)), all}, [&](ValueRange args) {
    Value y = e.mul(args[0], args[1]);
    return getWeight() ? e.mul(e.toF32(args[2]), y) : y;
  })};
}

//===----------------------------------------------------------------------===//
// Rotary embedding
//===----------------------------------------------------------------------===//

/// The frequencies of spec 3.3 and 3.4, each step rounded to f32 as the reference rounds it.
static SmallVector<float> frequencies(int64_t half, double theta, YarnAttr yarn) {
  int64_t dim = 2 * half;
  SmallVector<float> result;
  for (int64_t i = 0; i < half; ++i) {
    float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    result.push_back(1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent))));
  }
  if (!yarn)
    return result;

  // Pairs that turn more than beta_fast times within the original context stay, those below beta_slow are stretched.
  auto pairOf = [&](FloatAttr rotations) {
    constexpr double pi = 3.14159265358979323846;
    double turns = yarn.getOriginal() / (rotations.getValueAsDouble() * 2 * pi);
    return dim * std::log(turns) / (2 * std::log(theta));
  };
  double low = std::max(std::floor(pairOf(yarn.getBetaFast())), 0.0);
  double high = std::min(std::ceil(pairOf(yarn.getBetaSlow())), static_cast<double>(dim - 1));
  if (low == high)
    high += 0.001;
  float factor = static_cast<float>(yarn.getFactor().getValueAsDouble());
  for (auto [i, f] : llvm::enumerate(result)) {
    float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    float keep = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    f = f / factor * (1.0f - keep) + f * keep;
  }
  return result;
}

/// Sum of coefficients times powers of `square`, highest first.
static Value polynomial(Emit &e, Value square, ArrayRef<double> coefficients) {
  Value result = e.f64(coefficients.front());
  for (double c : coefficients.drop_front())
    result = e.mulAdd(result, square, e.f64(c));
  return result;
}

/// The sine of `angle` + `quarters` * pi/2, for |angle| up to 2^21, rounded to f32. The angle is exact in f64, and so
/// is its product with the high part of pi/2, which has 32 significant bits.
static Value sine(Emit &e, Value angle, int64_t quarters) {
  Value wide = arith::ExtFOp::create(e, e.getF64Type(), angle);
  Value turns = math::RoundEvenOp::create(e, e.mul(wide, e.f64(0.63661977236758134308)));
  Value rest = e.sub(wide, e.mul(turns, e.f64(0x1.921fb544p+0)));
  rest = e.sub(rest, e.mul(turns, e.f64(0x1.0b4611a626331p-34)));

  // Taylor polynomials on [-pi/4, pi/4]: errors below 1e-13.
  Value square = e.mul(rest, rest);
  Value sin = e.mul(rest, polynomial(e, square,
                                     {1.0 / 6227020800.0, -1.0 / 39916800.0, 1.0 / 362880.0, -1.0 / 5040.0, 1.0 / 120.0,
                                      -1.0 / 6.0, 1.0}));
  Value cos = polynomial(
      e, square,
      {-1.0 / 87178291200.0, 1.0 / 479001600.0, -1.0 / 3628800.0, 1.0 / 40320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0});
  Value quadrant = e.add(arith::FPToSIOp::create(e, e.getI32Type(), turns), e.i32(quarters));
  auto isSet = [&](int64_t bit) {
    return arith::CmpIOp::create(e, arith::CmpIPredicate::ne, e.bitAnd(quadrant, bit), e.i32(0));
  };
  Value value = e.select(isSet(1), cos, sin);
  value = e.select(isSet(2), arith::NegFOp::create(e, value), value);
  return arith::TruncFOp::create(e, e.getF32Type(), value);
}

Results RopeTableOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  int64_t rows = sizeOf(getResult(), 0), half = sizeOf(getResult(), 2);
  SmallVector<float> f = frequencies(half, getTheta().convertToDouble(), getYarnAttr());
  auto type = RankedTensorType::get({half}, e.getF32Type());
  Value table = arith::ConstantOp::create(e, DenseElementsAttr::get(type, ArrayRef<float>(f)));

  Value y = e.empty(shapeOf(getResult()));
  for (int64_t part : {0, 1}) {
    SmallVector<OpFoldResult> offsets = {e.getIndexAttr(0), e.getIndexAttr(part), e.getIndexAttr(0)};
    Value target = e.slice(y, offsets, {rows, 1, half}, {1});
    target = e.generic({{getPositions(), {0}}, {table, {1}}}, {target, {0, 1}}, [&](ValueRange args) {
      Value position = arith::SIToFPOp::create(e, e.getF32Type(), args[0]);
      return sine(e, e.mul(position, args[1]), part == 0 ? 1 : 0);
    });
    y = e.insert(target, y, offsets, {rows, 1, half});
  }
  return SmallVector<Value>{y};
}

/// Columns that an op passes on.
static Value copyColumns(Emit &e, Value x, Value y, int64_t first, int64_t count) {
  auto part = [&](Value tensor, OpFoldResult row, ArrayRef<int64_t> drop) {
    SmallVector<OpFoldResult> offsets(tensorType(tensor).getRank(), e.getIndexAttr(0));
    SmallVector<int64_t> sizes(shapeOf(tensor));
    offsets.front() = row, offsets.back() = e.getIndexAttr(first);
    sizes.front() = 1, sizes.back() = count;
    return std::tuple(e.slice(tensor, offsets, sizes, drop), offsets, sizes);
  };
  return e.repeat(sizeOf(x, 0), y, [&](OpFoldResult s, ValueRange iter) -> SmallVector<Value> {
    auto [target, offsets, sizes] = part(iter[0], s, {});
    return {e.insert(e.copyInto(std::get<0>(part(x, s, {0})), target), iter[0], offsets, sizes)};
  })[0];
}

Results RopeOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value x = getInput();
  int64_t rows = sizeOf(x, 0), half = sizeOf(getTable(), 2), first = shapeOf(x).back() - 2 * half;
  unsigned last = tensorType(x).getRank() - 1;
  SmallVector<unsigned> all = loops(last + 1);

  Value y = e.empty(shapeOf(x));
  if (first)
    y = copyColumns(e, x, y, 0, first);
  SmallVector<Arg> inputs = {{e.columns(x, first, half, 2), all}, {e.columns(x, first + 1, half, 2), all}};
  for (int64_t part : {0, 1}) {
    OpFoldResult zero = e.getIndexAttr(0);
    inputs.push_back({e.slice(getTable(), {zero, e.getIndexAttr(part), zero}, {rows, 1, half}, {1}), {0, last}});
  }
  for (int64_t odd : {0, 1}) {
    Value target = e.columns(y, first + odd, half, 2);
    target = e.generic(inputs, {target, all}, [&](ValueRange args) {
      Value a = args[0], c = args[1], cos = args[2], sin = args[3];
      Value own = e.mul(odd ? c : a, cos), other = e.mul(odd ? a : c, sin);
      return odd != getInverse() ? e.add(own, other) : e.sub(own, other);
    });
    y = e.setColumns(target, y, first + odd, 2);
  }
  return SmallVector<Value>{y};
}

//===----------------------------------------------------------------------===//
// Hyper-connections
//===----------------------------------------------------------------------===//

Results HcExpandOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  SmallVector<Arg> inputs = {{getInput(), {0, 2}}};
  if (getAddend())
    inputs.push_back({getAddend(), {0, 1, 2}});
  return SmallVector<Value>{e.generic(inputs, {e.empty(shapeOf(getResult())), {0, 1, 2}}, [&](ValueRange args) {
    return getAddend() ? e.add(args[0], args[1]) : args[0];
  })};
}

/// Sums of the matrices of z [S, n, n] over their last (`across`) or first index, [S, n].
static Value matrixSums(Emit &e, Value z, bool across) {
  Value zero = e.filled(shapeOf(z).drop_back(), e.f32(0));
  if (across)
    return e.sum({{z, {0, 1, 2}}}, {zero, {0, 1}}, 2, [&](ValueRange args) { return args[0]; });
  return e.generic({{z, {0, 1, 2}}}, {zero, {0, 2}}, [&](ValueRange args) { return e.add(args[0], args[1]); });
}

/// z / (sums + eps), then + `bias`, in place of z.
static Value normalize(Emit &e, Value z, bool across, float eps, float bias = 0) {
  unsigned loop = across ? 1 : 2;
  return e.generic({{matrixSums(e, z, across), {0, loop}}}, {z, {0, 1, 2}}, [&](ValueRange args) {
    Value sum = eps == 0 ? args[0] : e.add(args[0], e.f32(eps));
    Value value = e.div(args[1], sum);
    return bias == 0 ? value : e.add(value, e.f32(bias));
  });
}

/// Spec 2.4, in its order.
static Value sinkhorn(Emit &e, Value z, const APFloat &epsValue, int64_t iterations) {
  float eps = epsValue.convertToFloat();
  Value lowest = e.filled(shapeOf(z).drop_back(), e.f32(-std::numeric_limits<float>::infinity()));
  Value top = e.maximum({{z, {0, 1, 2}}}, {lowest, {0, 1}}, 2, [&](ValueRange args) { return args[0]; });
  Value c = e.generic({{z, {0, 1, 2}}, {top, {0, 1}}}, {e.empty(shapeOf(z)), {0, 1, 2}},
                      [&](ValueRange args) -> Value { return math::ExpOp::create(e, e.sub(args[0], args[1])); });
  c = normalize(e, c, /*across=*/true, 0, eps);
  c = normalize(e, c, /*across=*/false, eps);
  if (iterations < 2)
    return c;
  return e.repeat(iterations - 1, c, [&](OpFoldResult, ValueRange iter) -> SmallVector<Value> {
    return {normalize(e, normalize(e, iter[0], true, eps), false, eps)};
  })[0];
}

Results SinkhornOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  return SmallVector<Value>{sinkhorn(e, getInput(), getEps(), getIterations())};
}

/// The projection of the flattened streams, times their inverse root mean square (spec 2.3, steps 1 to 3).
static Value mix(Emit &e, Value streams, Value fn, const APFloat &eps) {
  Value v = e.join(streams, 2);
  int64_t rows = sizeOf(v, 0), outputs = sizeOf(fn, 0), width = sizeOf(v, 1);
  Value squares = e.contract({v, {0, 1}}, {v, {0, 1}}, {e.filled({rows}, e.f32(0)), {0}}, 1);
  Value product = e.contract({v, {0, 2}}, {fn, {1, 2}}, {e.filled({rows, outputs}, e.f32(0)), {0, 1}}, 2);
  Value scale = e.map(squares, e.empty({rows}), [&](ValueRange args) { return e.inverseRoot(args[0], width, eps); });
  return e.generic({{product, {0, 1}}, {scale, {0}}}, {e.empty({rows, outputs}), {0, 1}},
                   [&](ValueRange args) { return e.mul(args[0], args[1]); });
}

/// finish(mix * scale[part] + base) on columns of the projection.
static Value gate(Emit &e, Value mixed, Value scale, Value base, int64_t part, int64_t offset, int64_t count,
                  function_ref<Value(Value)> finish) {
  Value factor = e.at(scale, e.getIndexAttr(part));
  return e.generic({{e.columns(mixed, offset, count), {0, 1}}, {e.columns(base, offset, count), {1}}},
                   {e.empty({sizeOf(mixed, 0), count}), {0, 1}},
                   [&](ValueRange args) { return finish(e.add(e.mul(args[0], factor), args[1])); });
}

/// sum_j weights[s, j] X[s, j].
static Value collapseStreams(Emit &e, Value streams, Value weights) {
  Value zero = e.filled({sizeOf(streams, 0), sizeOf(streams, 2)}, e.f32(0));
  return e.generic({{weights, {0, 1}}, {streams, {0, 1, 2}}}, {zero, {0, 2}},
                   [&](ValueRange args) { return e.mulAdd(args[0], args[1], args[2]); });
}

Results HcPreOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  int64_t n = sizeOf(getStreams(), 1);
  Value mixed = mix(e, getStreams(), getFn(), getEps());
  Value offset = e.f32(getHcEps().convertToFloat()), two = e.f32(2);
  Value pre = gate(e, mixed, getScale(), getBase(), 0, 0, n, [&](Value x) { return e.add(e.sigmoid(x), offset); });
  Value post = gate(e, mixed, getScale(), getBase(), 1, n, n, [&](Value x) { return e.mul(two, e.sigmoid(x)); });
  Value z = gate(e, mixed, getScale(), getBase(), 2, 2 * n, n * n, [&](Value x) { return x; });
  Value comb = sinkhorn(e, e.split(z, {n, n}), getHcEps(), getIterations());
  return SmallVector<Value>{collapseStreams(e, getStreams(), pre), post, comb};
}

Results HcPostOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value y = e.generic({{getPost(), {0, 1}}, {getInput(), {0, 2}}}, {e.empty(shapeOf(getStreams())), {0, 1, 2}},
                      [&](ValueRange args) { return e.mul(args[0], args[1]); });
  // Loops: row, destination, source, column.
  return SmallVector<Value>{e.generic({{getComb(), {0, 2, 1}}, {getStreams(), {0, 2, 3}}}, {y, {0, 1, 3}},
                                      [&](ValueRange args) { return e.mulAdd(args[0], args[1], args[2]); })};
}

Results HcHeadOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value mixed = mix(e, getStreams(), getFn(), getEps());
  Value offset = e.f32(getHcEps().convertToFloat());
  Value pre = gate(e, mixed, getScale(), getBase(), 0, 0, sizeOf(getStreams(), 1),
                   [&](Value x) { return e.add(e.sigmoid(x), offset); });
  return SmallVector<Value>{collapseStreams(e, getStreams(), pre)};
}

//===----------------------------------------------------------------------===//
// Hadamard rotation
//===----------------------------------------------------------------------===//

Results HadamardOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value x = getInput();
  unsigned k = tensorType(x).getRank() - 1, j = k + 1;
  SmallVector<unsigned> in = loops(k + 1), out = loops(k);
  out.push_back(j);
  Value sums = e.generic({{x, in}}, {e.filled(shapeOf(x), e.f32(0)), out}, [&](ValueRange args) {
    // Entry (k, j) of the matrix is negative where k and j share an odd number of set bits.
    Value common = arith::AndIOp::create(e, e.iteration(k), e.iteration(j));
    Value sign = e.shiftLeft(math::CtPopOp::create(e, common), 31);
    Value term = e.numberOf(arith::XOrIOp::create(e, e.bitsOf(args[0]), sign));
    return e.add(args[1], term);
  });
  Value factor = e.f32(1.0 / std::sqrt(static_cast<double>(shapeOf(x).back())));
  return SmallVector<Value>{e.map(sums, e.empty(shapeOf(x)), [&](ValueRange args) { return e.mul(args[0], factor); })};
}

//===----------------------------------------------------------------------===//
// Quantisers
//===----------------------------------------------------------------------===//

/// Exponent bits of the power-of-two scale of a block (spec 7.1); 255 where the maximum is infinite or not a number.
static Value scaleBits(Emit &e, Value largest, QuantFormat format) {
  bool byte = format == QuantFormat::e4m3;
  Value floor = e.f32(byte ? 1e-4f : 6 * 0x1p-126f);
  Value ratio = e.mul(e.max(largest, floor), e.f32(byte ? 1.0f / 448 : 1.0f / 6));
  Value bits = e.shiftRight(e.add(e.bitsOf(ratio), e.i32(0x7fffff)), 23);
  return e.min(bits, e.i32(255));
}

/// 1 / scale, exact; not a number for 255.
static Value inverseScale(Emit &e, Value bits) {
  Value inverse = e.shiftLeft(e.sub(e.i32(254), bits), 23);
  Value invalid = arith::CmpIOp::create(e, arith::CmpIPredicate::eq, bits, e.i32(255));
  return e.numberOf(e.select(invalid, e.i32(0x7fc00000), inverse));
}

/// |x| rounded to the format, and its code, where |x| is already clamped. Numbers below the smallest normal one are
/// rounded by an addition whose result has the format's smallest step as its last bit.
static std::pair<Value, Value> roundMagnitude(Emit &e, Value magnitude, QuantFormat format) {
  bool byte = format == QuantFormat::e4m3;
  int64_t drop = byte ? 20 : 22, bias = byte ? 120 << 3 : 126 << 1;
  double smallest = byte ? 0x1p-6 : 1, shifter = byte ? 0x1p14 : 0x1p22;
  Value bits = e.bitsOf(magnitude), odd = e.bitAnd(e.shiftRight(bits, drop), 1);
  Value rounded = e.shiftRight(e.add(e.add(bits, e.i32((1 << (drop - 1)) - 1)), odd), drop);
  Value normal = e.numberOf(e.shiftLeft(rounded, drop)), normalCode = e.sub(rounded, e.i32(bias));
  Value shift = e.f32(shifter), shifted = e.add(magnitude, shift);
  Value small = e.sub(shifted, shift), smallCode = e.sub(e.bitsOf(shifted), e.bitsOf(shift));
  Value isSmall = e.less(magnitude, e.f32(smallest));
  return {e.select(isSmall, small, normal), e.select(isSmall, smallCode, normalCode)};
}

/// The blocks of x [.., D] as [.., D/block, block], and the exponent bits of their scales.
static std::pair<Value, Value> scaleBlocks(Emit &e, Value x, int64_t block, QuantFormat format) {
  Value blocks = e.split(x, {shapeOf(x).back() / block, block});
  unsigned last = tensorType(blocks).getRank() - 1;
  Value zero = e.filled(shapeOf(blocks).drop_back(), e.f32(0));
  Value largest = e.maximum({{blocks, loops(last + 1)}}, {zero, loops(last)}, last,
                            [&](ValueRange args) -> Value { return math::AbsFOp::create(e, args[0]); });
  Value bits = e.map(largest, e.empty(shapeOf(largest), e.getI32Type()),
                     [&](ValueRange args) { return scaleBits(e, args[0], format); });
  return {blocks, bits};
}

/// x / scale, clamped: sign bit and magnitude.
static std::pair<Value, Value> scaled(Emit &e, Value x, Value bits, QuantFormat format) {
  Value ratio = e.mul(x, inverseScale(e, bits));
  Value sign = e.bitAnd(e.bitsOf(ratio), 0x80000000);
  Value limit = e.f32(format == QuantFormat::e4m3 ? 448 : 6);
  return {sign, e.min(math::AbsFOp::create(e, ratio), limit)};
}

static Value isNumber(Emit &e, Value x) {
  return arith::CmpFOp::create(e, arith::CmpFPredicate::ORD, x, x);
}

Results QuantizeOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  QuantFormat format = getFormat();
  int64_t rows = sizeOf(getInput(), 0), count = sizeOf(getScale(), 1), block = getBlock();
  auto [blocks, bits] = scaleBlocks(e, getInput(), block, format);
  Type byte = e.getI8Type();
  Value scale =
      e.map(bits, e.empty(shapeOf(getScale()), getScale().getType().getElementType()), [&](ValueRange args) -> Value {
        Value low = arith::TruncIOp::create(e, byte, args[0]);
        return arith::BitcastOp::create(e, getScale().getType().getElementType(), low);
      });
  auto code = [&](Value x, Value bits) {
    auto [sign, magnitude] = scaled(e, x, bits, format);
    Value code = roundMagnitude(e, magnitude, format).second;
    if (format == QuantFormat::e4m3)
      code = e.select(isNumber(e, magnitude), code, e.i32(0x7f));
    else
      code = e.bitAnd(code, 7);
    int64_t move = format == QuantFormat::e4m3 ? 24 : 28;
    return Value(arith::OrIOp::create(e, code, e.shiftRight(sign, move)));
  };
  if (format == QuantFormat::e4m3) {
    Type element = getCodes().getType().getElementType();
    Value codes = e.generic({{blocks, {0, 1, 2}}, {bits, {0, 1}}}, {e.empty(shapeOf(blocks), element), {0, 1, 2}},
                            [&](ValueRange args) -> Value {
                              Value low = arith::TruncIOp::create(e, byte, code(args[0], args[1]));
                              return arith::BitcastOp::create(e, element, low);
                            });
    return SmallVector<Value>{e.join(codes, 2), scale};
  }
  Value codes =
      e.generic({{e.columns(blocks, 0, block / 2, 2), {0, 1, 2}},
                 {e.columns(blocks, 1, block / 2, 2), {0, 1, 2}},
                 {bits, {0, 1}}},
                {e.empty({rows, count, block / 2}, byte), {0, 1, 2}}, [&](ValueRange args) -> Value {
                  Value high = e.shiftLeft(code(args[1], args[2]), 4);
                  return arith::TruncIOp::create(e, byte, arith::OrIOp::create(e, code(args[0], args[2]), high));
                });
  return SmallVector<Value>{e.join(codes, 2), scale};
}

Results DequantizeOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  int64_t count = sizeOf(getScale(), 1), width = sizeOf(getResult(), 1);
  Value scale = e.widen(getScale());
  bool nibbles = getCodes().getType().getElementType().isInteger(8);
  Value codes = e.split(getCodes(), {count, sizeOf(getCodes(), 1) / count});
  Value y = e.empty({sizeOf(codes, 0), count, width / count});
  for (int64_t odd = 0; odd < (nibbles ? 2 : 1); ++odd) {
    Value target = nibbles ? e.columns(y, odd, width / count / 2, 2) : y;
    target = e.generic({{codes, {0, 1, 2}}, {scale, {0, 1}}}, {target, {0, 1, 2}}, [&](ValueRange args) {
      return e.mul(nibbles ? nibbleToF32(e, args[0], odd) : e.toF32(args[0]), args[1]);
    });
    y = nibbles ? e.setColumns(target, y, odd, 2) : target;
  }
  return SmallVector<Value>{e.join(y, 2)};
}

Results RoundTripOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value x = getInput(), y = e.empty(shapeOf(x));
  int64_t width = shapeOf(x).back(), columns = getColumns(), block = getBlock();
  if (columns < width)
    y = copyColumns(e, x, y, columns, width - columns);
  auto [blocks, bits] = scaleBlocks(e, e.columns(x, 0, columns), block, getFormat());
  unsigned last = tensorType(blocks).getRank() - 1;
  Value target = e.split(e.columns(y, 0, columns), {columns / block, block});
  target = e.generic({{blocks, loops(last + 1)}, {bits, loops(last)}}, {target, loops(last + 1)}, [&](ValueRange args) {
    auto [sign, magnitude] = scaled(e, args[0], args[1], getFormat());
    Value rounded = roundMagnitude(e, magnitude, getFormat()).first;
    Value value = e.numberOf(arith::OrIOp::create(e, e.bitsOf(rounded), sign));
    Value result = e.mul(value, e.numberOf(e.shiftLeft(args[1], 23)));
    return e.select(isNumber(e, magnitude), result, magnitude);
  });
  return SmallVector<Value>{e.setColumns(e.join(target, 2), y, 0)};
}
