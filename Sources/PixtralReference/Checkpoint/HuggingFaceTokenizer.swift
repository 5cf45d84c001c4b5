import PixtralStorage
import PixtralText

extension Vocabulary {
  /// tokenizer.json: Tokens.md 2 in the terms of Hugging Face's tokenizers library.
  ///
  /// It differs from `Tokenizer` in one thing: the name of a control token in a text becomes that
  /// token, as with every tokenizer of that library, and what stands on both sides is encoded on its
  /// own. (With `split_special_tokens` it is text, and there is no difference.)
  var huggingFaceTokenizer: JSON {
    [
      "version": "1.0", "truncation": .null, "padding": .null,
      "added_tokens": .array(pieces.indices.filter(isSpecial).map(addedToken)),
      // A ▁ goes in front, and every space is one. 2.3
      "normalizer": [
        "type": "Sequence",
        "normalizers": [
          ["type": "Prepend", "prepend": "▁"],
          ["type": "Replace", "pattern": ["String": " "], "content": "▁"],
        ],
      ],
      "pre_tokenizer": [
        "type": "Sequence",
        "pretokenizers": [
          // User-defined pieces are words of their own, 2.4, and `ignore_merges` makes a word that is a
          // piece that piece. (Every normal piece would come out as itself anyway.)
          split(userDefined.map { escaped($0.text) }.joined(separator: "|"), "Isolated"),
          // The name of a byte, `<0x0A>`, is no such word. No piece lies across this cut.
          split("<(?=0x[0-9A-F]{2}>)", "MergedWithPrevious"),
        ],
      ],
      "model": [
        "type": "BPE", "dropout": .null, "unk_token": "<unk>", "continuing_subword_prefix": .null,
        "end_of_word_suffix": .null, "fuse_unk": .bool(false), "byte_fallback": .bool(true),
        "ignore_merges": .bool(true),
        "vocab": .object(pieces.enumerated().map { JSON.Member(key: $1.text, value: .integer($0)) }),
        "merges": .array(merges.map(JSON.string)),
      ],
      // `<s>` comes first, unless the caller wants no special tokens.
      "post_processor": [
        "type": "TemplateProcessing",
        "single": [
          ["SpecialToken": ["id": "<s>", "type_id": .integer(0)]],
          ["Sequence": ["id": "A", "type_id": .integer(0)]],
        ],
        "pair": [
          ["SpecialToken": ["id": "<s>", "type_id": .integer(0)]],
          ["Sequence": ["id": "A", "type_id": .integer(0)]],
          ["Sequence": ["id": "B", "type_id": .integer(0)]],
        ],
        "special_tokens": [
          "<s>": [
            "id": "<s>", "ids": [.integer(V7Token.beginOfSequence.rawValue)], "tokens": ["<s>"],
          ]
        ],
      ],
      // ▁ is a space, bytes are characters, and the ▁ in front goes.
      "decoder": [
        "type": "Sequence",
        "decoders": [
          ["type": "Replace", "pattern": ["String": "▁"], "content": " "],
          ["type": "ByteFallback"], ["type": "Fuse"],
          ["type": "Strip", "content": " ", "start": .integer(1), "stop": .integer(0)],
        ],
      ],
    ]
  }

  /// tokenizer_config.json.
  var huggingFaceTokenizerConfig: JSON {
    [
      "tokenizer_class": "PreTrainedTokenizerFast", "processor_class": "PixtralProcessor",
      "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>",
      "add_bos_token": .bool(true), "add_eos_token": .bool(false),
      "clean_up_tokenization_spaces": .bool(false),
      "model_max_length": .integer(Parameters.contextLength),
    ]
  }

  /// Two pieces that together are a piece, `left right`: all such pairs, in the order in which they are
  /// merged. 2.7
  ///
  /// The library knows no scores, only this order, and merges equal pairs from left to right. Scores are
  /// equal for the rows of ▁ alone. With the longest of them first, a row grows from its left end on, as
  /// the rule has it. (In the order of ids, T-merge-order, indented lines come out wrong.)
  private var merges: [String] {
    let normal = pieces.filter { $0.kind == .normal }
      .map { (scalars: Array($0.text.unicodeScalars), score: $0.score) }
    let names = Set(normal.map(\.scalars))
    let order = normal.indices.sorted { a, b in
      (-normal[a].score, -normal[a].scalars.count) < (-normal[b].score, -normal[b].scalars.count)
    }
    return order.flatMap { index in
      let scalars = normal[index].scalars
      return scalars.indices.dropFirst().compactMap { cut in
        let (left, right) = (Array(scalars[..<cut]), Array(scalars[cut...]))
        return names.contains(left) && names.contains(right) ? "\(text(left)) \(text(right))" : nil
      }
    }
  }

  private func isSpecial(_ id: Int) -> Bool { pieces[id].kind == .control || pieces[id].kind == .unknown }

  private func addedToken(_ id: Int) -> JSON {
    [
      "id": .integer(id), "content": .string(pieces[id].text), "single_word": .bool(false),
      "lstrip": .bool(false), "rstrip": .bool(false), "normalized": .bool(false), "special": .bool(true),
    ]
  }
}

private func text(_ scalars: [Unicode.Scalar]) -> String { String(String.UnicodeScalarView(scalars)) }

/// A pre-tokenizer that cuts a text at what a pattern matches.
private func split(_ pattern: String, _ behaviour: String) -> JSON {
  [
    "type": "Split", "pattern": ["Regex": .string(pattern)], "behavior": .string(behaviour),
    "invert": .bool(false),
  ]
}

/// A pattern that matches a name and nothing else.
private func escaped(_ name: String) -> String {
  name.map { "[]".contains($0) ? "\\\($0)" : String($0) }.joined()
}
