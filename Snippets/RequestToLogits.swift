// A chat request to the logits of what comes next.

import PixtralReference
import PixtralText

try BLAS.begin()  // once, before the first run
let model = Pixtral<Float>(try Checkpoint("seeded:tiny"))
let tokenizer = try Tokenizer(file: "Fixtures/tokenizer/\(Tokenizer.fileName)")

let request = ChatRequest([ChatRequest.Message(.user, [.text("What is on the pictures?")])])
let logits = try model(request, tokenizer: tokenizer, logitRows: 1)  // (1, 32768)
let best = logits.values.indices.max { logits.values[$0] < logits.values[$1] }
print(best.map { tokenizer.pieces(of: [$0]) } ?? [])
