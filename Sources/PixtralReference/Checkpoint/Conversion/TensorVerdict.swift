import PixtralStorage

/// What became of a tensor of ORIGINAL in CONVERTED.
package enum TensorVerdict: Sendable, Equatable {
  /// Every value is the same, whatever the dtype.
  case identical
  /// Every value is ORIGINAL's, rounded to the nearest of a dtype.
  case rounded(to: DType, storedAs: DType, changed: Int, zeroed: Int, of: Int)
  /// The same, but bits were cut off instead.
  case truncated(to: DType)
  /// The same, but values beyond the range of the dtype became infinite.
  case overflowed(to: DType, storedAs: DType, infinite: Int, of: Int)
  /// Rows, heads or axes in another order.
  case permuted(String)
  case transposed
  /// Every value times a number, as far as CONVERTED's dtype can tell.
  case scaled(by: Double)
  /// Another tensor of ORIGINAL.
  case swapped(with: String)
  case different(Difference, shape: [Int])
  case reshaped(from: [Int], to: [Int])
  case missing
  case extra

  package var isFaithful: Bool {
    switch self {
    case .identical, .rounded: true
    default: false
    }
  }

  package var word: String {
    switch self {
    case .identical: "identical"
    case .rounded: "rounded"
    case .truncated: "truncated"
    case .overflowed: "overflowed"
    case .permuted: "permuted"
    case .transposed: "transposed"
    case .scaled: "scaled"
    case .swapped: "swapped"
    case .different: "different"
    case .reshaped: "reshaped"
    case .missing: "missing"
    case .extra: "extra"
    }
  }

  /// More than the word says; empty if there is no more.
  package var detail: String {
    switch self {
    case .identical, .missing, .extra: return ""
    case .rounded(let type, let stored, let changed, let zeroed, let count):
      let zeros = zeroed == 0 ? "" : ", \(zeroed) of them to 0"
      return "to \(Self.name(type, stored)); \(changed) of \(count) values changed\(zeros)"
    case .truncated(let type): return "to \(type.rawValue): bits are cut off, not rounded to the nearest"
    case .overflowed(let type, let stored, let infinite, let count):
      return "rounded to \(Self.name(type, stored)); \(infinite) of \(count) values became infinite"
    case .permuted(let how): return how
    case .transposed: return "rows are ORIGINAL's columns"
    case .scaled(let factor): return "by \(factor)"
    case .swapped(let name): return "it is ORIGINAL's \(name)"
    case .different(let difference, let shape): return difference.sentence(shape)
    case .reshaped(let from, let to): return "ORIGINAL's shape is \(from), CONVERTED's \(to)"
    }
  }

  private static func name(_ type: DType, _ stored: DType) -> String {
    type == stored ? type.rawValue : "\(type.rawValue), stored as \(stored.rawValue)"
  }
}
