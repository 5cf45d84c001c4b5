extension Float {
  /// `e^x` within 2 units in the last place. `x` is clamped to −87.3 … 88.3, results to 1e-38 … 2e38; NaN
  /// stays NaN.
  ///
  /// Softmax and SiLU take a billion of these for one photo at full size, and the C library's
  /// `expf` computes them one at a time. This is arithmetic alone, without a branch or a call, so
  /// the compiler computes several side by side.
  ///
  /// With `n` the integer nearest to `x / ln 2` and `r = x − n · ln 2`: `e^x = 2ⁿ · e^r`, `|r| ≤ ln
  /// 2 / 2`, where the Taylor series up to r⁷/7! is off by less than 6e-9.
  @inline(__always)
  static func exponential(_ x: Float) -> Float {
    let low: Float = -87.3
    let high: Float = 88.3
    let x = x < low ? low : x > high ? high : x
    // Adding 1.5 · 2²³ leaves no bits behind the point: the sum's last bits are n.
    let shifted = x * 1.442_695_04 + 0x1.8p23
    let n = shifted - 0x1.8p23
    // ln 2 in two parts; n times the first is exact.
    let r = (x - n * 0.693_359_375) + n * 2.121_944_4e-4
    let tail = ((((r * (1 / 5040) + 1 / 720) * r + 1 / 120) * r + 1 / 24) * r + 1 / 6) * r + 0.5
    let power = Float(bitPattern: shifted.bitPattern << 23 &+ 0x3f80_0000)  // 2ⁿ
    return (tail * r * r + r + 1) * power
  }
}
