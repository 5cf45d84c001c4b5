import PixtralStorage
import PixtralText

extension Checkpoint {
  /// Makes sure that the ids of images are those that the template writes. (Tokens from elsewhere may have
  /// others.)
  ///
  /// - Throws: `InputError` of kind `wrongParameters`, naming the key.
  func checkImageTokens() throws {
    let vision = parameters.vision
    // Hugging Face's layout has no keys for the other two.
    let image =
      layout == .hf ? "config.json, image_token_index" : "params.json, vision_encoder, image_token_id"
    let ids: [(key: String, id: Int, token: V7Token)] = [
      (image, vision.imageToken, .image),
      ("params.json, vision_encoder, image_break_token_id", vision.imageBreakToken, .imageBreak),
      ("params.json, vision_encoder, image_end_token_id", vision.imageEndToken, .imageEnd),
    ]
    for (key, id, token) in ids where id != token.rawValue {
      throw InputError(
        .wrongParameters, key, expected: "\(token.rawValue), as V7 has it", found: "\(id)",
        advice: "give tokens and pixels instead of a request")
    }
  }
}
