import PixtralStorage

/// A parameter of both sides, by its name in params.json.
package struct ParameterPair: Sendable, Equatable {
  package let key: String
  package let original: JSON
  package let converted: JSON

  package var agrees: Bool { original == converted }

  package var json: JSON {
    ["key": .string(key), "original": original, "converted": converted, "same": .bool(agrees)]
  }
}

/// The parameters side by side. The ids of `[IMG_BREAK]` and `[IMG_END]` are in no config.json.
func parameterPairs(_ original: ConversionSide, _ converted: ConversionSide) -> [ParameterPair] {
  let (left, right) = (flat(original.parameters), flat(converted.parameters))
  let isHuggingFace = original.layout == .hf || converted.layout == .hf
  return zip(left, right).compactMap { left, right in
    let isNoKey = left.key.hasSuffix("image_break_token_id") || left.key.hasSuffix("image_end_token_id")
    return isHuggingFace && isNoKey
      ? nil : ParameterPair(key: left.key, original: left.value, converted: right.value)
  }
}

/// Keys and values, those of the vision encoder behind its name; without what no step computes with.
private func flat(_ parameters: Parameters) -> [JSON.Member] {
  guard case .object(let members) = parameters.json else { return [] }
  return members.flatMap { member -> [JSON.Member] in
    guard case .object(let inner) = member.value else { return [member] }
    return inner.map { JSON.Member(key: "\(member.key).\($0.key)", value: $0.value) }
  }.filter { !$0.key.hasPrefix("max_") && !$0.key.hasSuffix(".max_image_size") }
}
