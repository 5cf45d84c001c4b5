// swift-tools-version: 6.0
import PackageDescription

let package = Package(
  name: "pixtral-ref",
  products: [
    .library(name: "PixtralReference", targets: ["PixtralReference"]),
    .executable(name: "pixtral-ref", targets: ["pixtral-ref"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
  ],
  targets: [
    .systemLibrary(
      name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "CJSON", pkgConfig: "json-c", providers: [.apt(["libjson-c-dev"])]),
    .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CMalloc"),
    .target(name: "CPNG", linkerSettings: [.linkedLibrary("png16")]),
    .target(name: "CJPEG", linkerSettings: [.linkedLibrary("jpeg")]),
    .target(
      name: "PixtralReference",
      dependencies: [
        "COpenBLAS", "CJSON", "CCrypto", "CMalloc", "CPNG", "CJPEG",
        .product(name: "HeapModule", package: "swift-collections"),
      ]),
    .executableTarget(
      name: "pixtral-ref",
      dependencies: [
        "PixtralReference",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .testTarget(
      name: "PixtralReferenceTests", dependencies: ["PixtralReference", "pixtral-ref"]),
  ],
  swiftLanguageModes: [.v6]
)

// `make fuzz` asks for this one: its main is libFuzzer's, which an ordinary build does not link.
if Context.environment["PIXTRAL_FUZZ"] != nil {
  package.targets.append(.executableTarget(name: "fuzz", dependencies: ["PixtralReference"], path: "Tools/fuzz", exclude: ["fuzz.py"]))
}
