import Testing

@testable import PixtralServer

@Suite("Lanes")
struct LaneTests {
}
