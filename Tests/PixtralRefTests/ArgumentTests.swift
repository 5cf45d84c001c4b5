import TestSupport
import Testing

@Suite("Arguments")
struct ArgumentTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test(
    "An argument with bytes that are no UTF-8 is refused, whatever it is for",
    arguments: [#"image $'a\xffb'"#, #"tokens --text $'a\xffb'"#, #"image b.png --pixels $'a\xffb'"#])
  func noText(arguments: String) throws {
    try folder.write("b.png", bytes(of: "\(fixtures)/images/model-alpha.png"))
    let result = try shell(#""$0" "# + arguments, in: folder.path)
    #expect(result.code == 2)
    #expect(result.out.isEmpty)
    #expect(result.error.contains(#"expected text in UTF-8, found a\xffb;"#))
    #expect(folder.contents == ["b.png"])
  }

  @Test("A process that has little memory ends when it is done")
  func littleMemory() throws {
    // With 150 MB the threads of OpenBLAS, which no text needs, cannot start.
    let result = try shell(#"ulimit -v 150000; timeout 60 "$0" tokens --text Hello"#, in: folder.path)
    #expect(result.code == 0)
    #expect(result.out.contains("[23325]"))
  }
}
