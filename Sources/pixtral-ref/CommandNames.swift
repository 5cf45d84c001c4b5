import ArgumentParser

extension PixtralRef {
  /// Makes sure that the first argument is a command, if it is no option. The parser alone would
  /// speak of the first option behind it.
  static func checkCommandName(_ arguments: [String] = Array(CommandLine.arguments.dropFirst())) throws {
    let names = configuration.subcommands.compactMap { $0.configuration.commandName } + ["help"]
    guard let name = arguments.first, !name.hasPrefix("-"), !names.contains(name) else { return }
    throw ValidationError("There is no command '\(name)'; there are \(names.joined(separator: ", ")).")
  }
}
