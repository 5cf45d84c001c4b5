import PixtralReference

extension JSON {
  var string: String? { if case .string(let value) = self { value } else { nil } }
  var integer: Int? { if case .integer(let value) = self { value } else { nil } }
  var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }
  var array: [JSON]? { if case .array(let values) = self { values } else { nil } }
  var strings: [String]? { array?.compactMap(\.string) }
  var integers: [Int]? { array?.compactMap(\.integer) }
  var members: [JSON.Member]? { if case .object(let members) = self { members } else { nil } }
}
