import Glibc
import PixtralReference
import PixtralStorage

/// How far a runtime is from the truth at each tap of a case, in the order of computation, with what right
/// runs were measured to differ by.
package struct ErrorCurve: Sendable {
  enum Mark: String, Sendable {
    case close, undecided
    case far = "FAR"
    case missing
    /// Another shape or dtype, or values that are no numbers.
    case other = "no distance"
  }

  struct Point: Sendable {
    let tap: String
    let mark: Mark
    /// Where there is one.
    let relF: Double?
    /// The largest distance of right runs, where it was measured.
    let noise: Double?
    /// Up to here it is close, and beyond the second surely wrong.
    let limit: Double
    let far: Double
    /// Why there is no distance.
    let why: String?
  }

  let points: [Point]
  /// The first that diverges, or if none does, that is undecided.
  let first: Int?

  init(_ taps: [Comparison.Tap]) {
    let points = taps.map(Point.init)
    self.points = points
    first = taps.firstIndex(where: \.diverges) ?? taps.firstIndex(where: \.isUndecided)
  }
}

extension ErrorCurve.Point {
  init(_ tap: Comparison.Tap) {
    let limit = tap.limit
    self.tap = tap.name
    relF = tap.distance?.relF
    self.limit = limit.relF
    far = limit.relF * limit.farMultiple
    // A limit without a span of doubt behind it was not made from a measurement.
    noise = limit.farMultiple > 1 ? limit.relF / 2 : nil
    switch tap.verdict {
    case .close: (mark, why) = (.close, nil)
    case .undecided: (mark, why) = (.undecided, nil)
    case .far: (mark, why) = (.far, nil)
    case .missing: (mark, why) = (.missing, "the answer lacks it")
    case .otherShape(let expected, let found):
      (mark, why) = (.other, "the shape is \(shortened("\(found)", to: 60)), expected \(expected)")
    case .otherDType(let name): (mark, why) = (.other, "the dtype is \(shortened(name, to: 40))")
    case .nonFinite(let row, let column):
      (mark, why) = (.other, "row \(row), column \(column) is not finite")
    case .otherNonFinite(let expected, let found):
      (mark, why) = (.other, "\(found) values are not finite, expected \(expected)")
    }
  }
}

// MARK: - The drawing

/// The curve as SVG on a logarithmic axis. What a line or a mark is, its form says as well as its colour.
struct CurveDrawing {
  /// For a wide screen, and for a phone.
  enum Form: String { case wide, narrow }

  private let curve: ErrorCurve
  private let form: Form
  private let width: Double
  private let height: Double
  private let left: Double
  private let right: Double
  private let top = 34.0
  private let bottom = 34.0
  /// Powers of ten at the lower and the upper end.
  private let lowest: Int
  private let highest: Int

  init(_ curve: ErrorCurve, _ form: Form) {
    (self.curve, self.form) = (curve, form)
    (width, height) = form == .wide ? (760, 330) : (330, 260)
    (left, right) = form == .wide ? (50, 14) : (38, 6)
    let values = curve.points.flatMap { [$0.relF, $0.noise, $0.limit, $0.far] }.compactMap(\.self)
      .filter { $0 > 0 && $0.isFinite }.map { log10($0) }
    highest = Int((values.max() ?? 0).rounded(.up)).clamped(to: -16...6)
    lowest = max(Int((values.min() ?? -1).rounded(.down)), highest - 22).clamped(to: -20...highest - 1)
  }

  private var plotWidth: Double { width - left - right }
  private var plotHeight: Double { height - top - bottom }

  private func x(_ index: Int) -> Double {
    left + (Double(index) + 0.5) * plotWidth / Double(max(1, curve.points.count))
  }

  /// Zero has no logarithm, and stands on the lower edge; what is no number on the upper.
  private func y(_ value: Double?) -> Double {
    guard let value, value.isFinite else { return top }
    let power = value > 0 ? log10(value) : -.infinity
    let share = (power - Double(lowest)) / Double(highest - lowest)
    return top + plotHeight * (1 - min(max(share, 0), 1))
  }

  var svg: String {
    let name = curve.first.map { curve.points[$0].tap }
    let label =
      "Distance from the reference at \(curve.points.count) taps, on a logarithmic axis."
      + (name.map { " It leaves the limit first at \($0)." } ?? "")
    return [
      #"<svg class="\#(form.rawValue)" viewBox="0 0 \#(place(width)) \#(place(height))" role="img" aria-label="\#(html(label))">"#,
      axis, groups, limits, line, marks, divergence, "</svg>",
    ].joined(separator: "\n")
  }

  private var axis: String {
    let span = highest - lowest
    let step = span <= 7 ? 1 : span <= 14 ? 2 : 4
    return stride(from: highest, through: lowest, by: -step).map { power in
      let height = y(pow(10, Double(power)))
      return #"<path class="grid" d="M\#(place(left)) \#(place(height))H\#(place(width - right))"/>"#
        + #"<text x="\#(place(left - 5))" y="\#(place(height + 4))" text-anchor="end">\#(power == 0 ? "1" : "1e\(power)")</text>"#
    }.joined()
  }

  /// The parts of the model below the axis, where there is room for their names.
  private var groups: String {
    var parts: [(names: [String], range: Range<Int>)] = []
    for (n, point) in curve.points.enumerated() {
      let names = Self.part(point.tap)
      if parts.last?.names == names {
        parts[parts.count - 1].range = parts[parts.count - 1].range.lowerBound..<n + 1
      } else {
        parts.append((names, n..<n + 1))
      }
    }
    let step = plotWidth / Double(max(1, curve.points.count))
    return parts.map { part in
      let (start, end) = (
        left + Double(part.range.lowerBound) * step, left + Double(part.range.upperBound) * step
      )
      let border =
        part.range.lowerBound == 0
        ? "" : #"<path class="border" d="M\#(place(start)) \#(place(top))V\#(place(height - bottom + 5))"/>"#
      guard let name = part.names.first(where: { Double($0.utf8.count) * 6.4 <= end - start }) else {
        return border
      }
      return border
        + #"<text x="\#(place((start + end) / 2))" y="\#(place(height - bottom + 17))" text-anchor="middle">\#(html(name))</text>"#
    }.joined()
  }

  /// The part of the model that a tap is in; a long name and shorter ones.
  private static func part(_ tap: String) -> [String] {
    let words = tap.split(separator: ".").map(String.init)
    if words.count > 2, words[1] == "layers" {
      return ["\(words[0]) layer \(words[2])", "\(words[0]) \(words[2])", "\(words[0].prefix(1))\(words[2])"]
    }
    switch words.first {
    case "vision": return ["patches", "in"]
    case "adapter": return ["adapter", "ad", "a"]
    case "decoder" where words.last == "embeddings": return ["embeddings", "e"]
    case "decoder", "logits": return ["head", "h"]
    default: return [""]
    }
  }

  /// Noise, limit and what is surely wrong; the doubt between the last two as an area.
  private var limits: String {
    let points = curve.points
    func steps(_ value: (ErrorCurve.Point) -> Double?) -> [(Double, Double)] {
      points.enumerated().compactMap { n, point in value(point).map { (x(n), y($0)) } }
    }
    let (limit, far) = (steps(\.limit), steps(\.far))
    var drawn = ""
    if points.contains(where: { $0.noise != nil }) {
      drawn += #"<path class="doubt" d="\#(Self.path(limit + far.reversed()))Z"/>"#
      drawn += #"<path class="noise" d="\#(Self.path(steps(\.noise)))"/>"#
      drawn += #"<path class="far" d="\#(Self.path(far))"/>"#
    }
    return drawn + #"<path class="limit" d="\#(Self.path(limit))"/>"#
  }

  private var line: String {
    let there = curve.points.indices.filter { curve.points[$0].mark != .missing }
    return #"<path class="curve" d="\#(Self.path(there.map { (x($0), y(curve.points[$0].relF)) }))"/>"#
  }

  private var marks: String {
    let size = form == .wide ? 3.2 : 2.0
    return curve.points.enumerated().map { n, point in
      let title = form == .wide ? "<title>\(html(Self.words(point)))</title>" : ""
      let form = Self.shape(point.mark, x(n), y(point.relF), size)
      return form.isEmpty ? "" : "<g>\(title)\(form)</g>"
    }.joined()
  }

  static func words(_ point: ErrorCurve.Point) -> String {
    guard let relF = point.relF else { return "\(point.tap): \(point.why ?? "")" }
    return "\(point.tap): \(scientific(relF)), limit \(scientific(point.limit)), \(point.mark.rawValue)"
  }

  /// A disc is close, a diamond undecided, a triangle FAR, a cross has no distance.
  static func shape(_ mark: ErrorCurve.Mark, _ x: Double, _ y: Double, _ size: Double) -> String {
    let (x, y, s, b) = (place(x), place(y), place(size), size * 1.5)
    switch mark {
    case .missing: return ""
    case .close: return #"<circle class="close" cx="\#(x)" cy="\#(y)" r="\#(s)"/>"#
    case .undecided:
      return
        #"<path class="undecided" d="M\#(x) \#(y)m0 \#(place(-b))l\#(place(b)) \#(place(b)) \#(place(-b)) \#(place(b)) \#(place(-b)) \#(place(-b))z"/>"#
    case .far:
      return
        #"<path class="wrong" d="M\#(x) \#(y)m0 \#(place(-b))l\#(place(b)) \#(place(2 * b))h\#(place(-2 * b))z"/>"#
    case .other:
      return
        #"<path class="cross" d="M\#(x) \#(y)m\#(place(-b)) \#(place(-b))l\#(place(2 * b)) \#(place(2 * b))m0 \#(place(-2 * b))l\#(place(-2 * b)) \#(place(2 * b))"/>"#
    }
  }

  /// Where it leaves the limits first: a line, and the tap's name above.
  private var divergence: String {
    guard let first = curve.first else { return "" }
    let x = x(first)
    let name = curve.points[first].tap
    let half = Double(name.utf8.count) * 3.4 + 20
    let (anchor, at) =
      x - half < 0 ? ("start", 4.0) : x + half > width ? ("end", width - 4) : ("middle", x)
    return #"<path class="first" d="M\#(place(x)) \#(place(top - 8))V\#(place(height - bottom))"/>"#
      + #"<text class="first" x="\#(place(at))" y="\#(place(top - 14))" text-anchor="\#(anchor)">first: \#(html(name))</text>"#
  }

  private static func path(_ points: [(Double, Double)]) -> String {
    points.enumerated().map { n, point in "\(n == 0 ? "M" : "L")\(place(point.0)) \(place(point.1))" }
      .joined()
  }
}

/// A length of a drawing, which needs no more than a tenth.
private func place(_ value: Double) -> String {
  let text = fixed(value)
  return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
}

extension Int {
  fileprivate func clamped(to range: ClosedRange<Int>) -> Int {
    Swift.min(Swift.max(self, range.lowerBound), range.upperBound)
  }
}
