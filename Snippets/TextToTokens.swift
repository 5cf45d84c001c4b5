// Text to tokens, and back.

import PixtralText

let tokenizer = try Tokenizer(file: "Fixtures/tokenizer/\(Tokenizer.fileName)")
let tokens = tokenizer.encode("Hello world")
print(tokens)  // [23325, 2294]
print(tokenizer.pieces(of: tokens))  // ["▁Hello", "▁world"]
print(try tokenizer.decode(tokens))  // Hello world
