// swift-tools-version: 6.3
import PackageDescription

// The plan of the house: the stages of the model in the order of the data. A target uses only those above it.
let package = Package(
  name: "pixtral-ref",
  products: [
    .library(name: "PixtralImage", targets: ["PixtralImage"]),
    .library(name: "PixtralText", targets: ["PixtralText"]),
    .library(name: "PixtralReference", targets: ["PixtralReference"]),
    .executable(name: "pixtral-ref", targets: ["pixtral-ref"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
  ],
  targets: [
    // The borders to C.
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .target(name: "CJPEG", linkerSettings: [.linkedLibrary("jpeg")]),
    .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
    .systemLibrary(name: "CLinux"),
    // Loops that are several times faster with the vectors of the processor at hand.
    .target(name: "CValues"),

    // What lies on disk.
    .target(name: "PixtralStorage", dependencies: ["CLinux"]),
    // A file → RGB → grid → stretched, normalised pixels.
    .target(name: "PixtralImage", dependencies: ["PixtralStorage", "CZlib", "CJPEG"]),
    // A chat request → tokens.
    .target(
      name: "PixtralText",
      dependencies: [
        "PixtralStorage", "PixtralImage", .product(name: "HeapModule", package: "swift-collections"),
      ]),
    // Tokens and pixels → logits.
    .target(
      name: "PixtralReference",
      dependencies: ["PixtralStorage", "PixtralImage", "PixtralText", "CValues", "COpenBLAS", "CCrypto"]),
    // A runtime → what it gets wrong.
    .target(
      name: "PixtralConformance",
      dependencies: ["CCurl", "PixtralStorage", "PixtralImage", "PixtralText", "PixtralReference"]),
    // Options, lines on a terminal, and the way to end: the same in every program.
    .target(
      name: "PixtralProgram",
      dependencies: [
        "PixtralStorage", "PixtralImage", "PixtralText", "PixtralReference", "CLinux",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    // The program.
    .executableTarget(
      name: "pixtral-ref",
      dependencies: [
        "PixtralStorage", "PixtralImage", "PixtralText", "PixtralReference", "PixtralConformance",
        "PixtralProgram", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),

    // A test target a library.
    .target(
      name: "TestSupport",
      dependencies: ["PixtralStorage", "PixtralImage", "PixtralText", "PixtralReference"],
      path: "Tests/Support"),
    .testTarget(name: "PixtralStorageTests", dependencies: ["PixtralStorage", "TestSupport"]),
    .testTarget(name: "PixtralImageTests", dependencies: ["PixtralImage", "CZlib", "TestSupport"]),
    .testTarget(name: "PixtralTextTests", dependencies: ["PixtralText", "TestSupport"]),
    .testTarget(name: "PixtralReferenceTests", dependencies: ["PixtralReference", "TestSupport"]),
    .testTarget(name: "PixtralConformanceTests", dependencies: ["PixtralConformance", "TestSupport"]),
    .testTarget(name: "PixtralRefTests", dependencies: ["pixtral-ref", "PixtralProgram", "TestSupport"]),
  ],
  swiftLanguageModes: [.v6]
)

// The server. `make build` leaves it out: its libraries take longer to build than all the rest.
if Context.environment["PIXTRAL_WITHOUT_SERVER"] == nil {
  package.products.append(.executable(name: "pixtral-ref-serve", targets: ["pixtral-ref-serve"]))
  package.dependencies += [
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ]
  package.targets += [
    // Requests over HTTP → answers.
    .target(
      name: "PixtralServer",
      dependencies: [
        "CLinux", "PixtralStorage", "PixtralImage", "PixtralText", "PixtralReference",
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
      ]),
    .executableTarget(
      name: "pixtral-ref-serve",
      dependencies: [
        "PixtralStorage", "PixtralReference", "PixtralProgram", "PixtralServer",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ]),
    .testTarget(
      name: "PixtralServerTests",
      dependencies: [
        "PixtralServer", "PixtralConformance", "TestSupport",
        .product(name: "AsyncHTTPClient", package: "async-http-client"),
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "Logging", package: "swift-log"),
      ]),
  ]
}

// `make fuzz` asks for the first, whose main is libFuzzer's, which an ordinary build does not link; `make check`
// for the second.
if Context.environment["PIXTRAL_FUZZ"] != nil {
  package.targets += [
    .executableTarget(
      name: "fuzz", dependencies: ["PixtralStorage", "PixtralImage", "PixtralText", "PixtralReference"],
      path: "Tools/fuzz", exclude: ["fuzz.py", "readers"]),
    .executableTarget(name: "readers", dependencies: ["PixtralStorage"], path: "Tools/fuzz/readers"),
  ]
}

// `make bench` asks for this one.
if Context.environment["PIXTRAL_BENCH"] != nil {
  package.targets += [
    .executableTarget(
      name: "products", dependencies: ["PixtralReference", "CValues"], path: "Tools/bench/products")
  ]
}

// `make docs` asks for this one, which only writes the documentation.
if Context.environment["PIXTRAL_DOCS"] != nil {
  package.dependencies.append(.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0"))
}
