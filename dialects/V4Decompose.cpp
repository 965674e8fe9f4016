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
  return e.repeat(sizeOf(getIds(), 0), e.emptyLike(getResult()),
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
  return SmallVector<Value>{e.copyRow(getInput(), row, e.emptyLike(getResult()), e.getIndexAttr(0))};
}

Results RmsNormOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value x = getInput();
  unsigned last = tensorType(x).getRank() - 1;
  SmallVector<unsigned> all = loops(last + 1), rows = loops(last);
  int64_t width = shapeOf(x).back();

  auto step = [&](Value value) { return getRounded() ? e.roundToBF16(value) : value; };
  Arg zero = {e.filled(shapeOf(x).drop_back(), e.f32(0)), rows};
  Value squares = getRounded() ? e.sum({{x, all}}, zero, last, [&](ValueRange a) { return step(e.mul(a[0], a[0])); })
                               : e.contract({x, all}, {x, all}, zero, last);
  Value scale = e.map(squares, e.empty(shapeOf(squares)), [&](ValueRange args) {
    if (!getRounded())
      return e.inverseRoot(args[0], width, getEps());
    Value mean = step(e.div(args[0], e.f32(width)));
    Value shifted = step(e.add(mean, e.f32(getEps().convertToFloat())));
    return step(e.div(e.f32(1), math::SqrtOp::create(e, shifted)));
  });
  SmallVector<Arg> inputs = {{x, all}, {scale, rows}};
  if (getWeight())
    inputs.push_back({getWeight(), {last}});
  return SmallVector<Value>{e.generic(inputs, {e.emptyLike(getResult()), all}, [&](ValueRange args) {
    Value y = e.mul(args[0], args[1]);
    return getWeight() ? e.mul(args[2], y) : y;
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

Results RopeOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value x = getInput();
  int64_t rows = sizeOf(x, 0), half = sizeOf(getTable(), 2), first = shapeOf(x).back() - 2 * half;
  unsigned last = tensorType(x).getRank() - 1;
  SmallVector<unsigned> all = loops(last + 1);

  Value y = e.emptyLike(x);
  if (first)
    y = e.copyColumns(x, y, 0, first);
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
  return SmallVector<Value>{e.generic(inputs, {e.emptyLike(getResult()), {0, 1, 2}}, [&](ValueRange args) {
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

/// sum_j weights[s, j] X[s, j], as `result`.
static Value collapseStreams(Emit &e, Value streams, Value weights, Value result) {
  Value target = e.emptyLike(result), zero = e.fill(e.f32(0), e.accumulator(target));
  Value sums = e.generic({{weights, {0, 1}}, {streams, {0, 1, 2}}}, {zero, {0, 2}},
                         [&](ValueRange args) { return e.mulAdd(args[0], args[1], args[2]); });
  return e.finish(sums, target);
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
  return SmallVector<Value>{collapseStreams(e, getStreams(), pre, getResult()), post, comb};
}

Results HcPostOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value target = e.emptyLike(getResult());
  Value y = e.generic({{getPost(), {0, 1}}, {getInput(), {0, 2}}}, {e.accumulator(target), {0, 1, 2}},
                      [&](ValueRange args) { return e.mul(args[0], args[1]); });
  // Loops: row, destination, source, column.
  y = e.generic({{getComb(), {0, 2, 1}}, {getStreams(), {0, 2, 3}}}, {y, {0, 1, 3}},
                [&](ValueRange args) { return e.mulAdd(args[0], args[1], args[2]); });
  return SmallVector<Value>{e.finish(y, target)};
}

Results HcHeadOp::decomposeOperation(OpBuilder &b) {
  Emit e(b, *this);
  Value mixed = mix(e, getStreams(), getFn(), getEps());
  Value offset = e.f32(getHcEps().convertToFloat());
  Value pre = gate(e, mixed, getScale(), getBase(), 0, 0, sizeOf(getStreams(), 1),
                   [&](Value x) { return e.add(e.sigmoid(x), offset); });
  return SmallVector<Value>{collapseStreams(e, getStreams(), pre, getResult())};
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
  return SmallVector<Value>{e.map(sums, e.emptyLike(x), [&](ValueRange args) { return e.mul(args[0], factor); })};
}
