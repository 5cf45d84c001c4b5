// A chat request with an image to the tokens that mistral-common gives.

import PixtralImage
import PixtralText

let tokenizer = try Tokenizer(file: "Fixtures/tokenizer/\(Tokenizer.fileName)")
let request = try ChatRequest(file: "Fixtures/requests/photo.json")

let images = request.loadImages()
let grids = images.map { $0.map { ImageRule.m1.grid($0.size) } }
let rendered = try V7Template(tokenizer: tokenizer)(request, grids: grids)
print(rendered.tokens.count)  // 603
print(tokenizer.text(of: rendered.tokens).prefix(36))  // <s>[SYSTEM_PROMPT]▁You▁look▁closely
