/// Ids that the V7 template and the image rule put into a prompt. They never come from text.
package enum V7Token: Int, Sendable {
  case beginOfSequence = 1
  case endOfSequence = 2
  case beginInstruction = 3
  case endInstruction = 4
  case toolCalls = 5
  case beginAvailableTools = 6
  case endAvailableTools = 7
  case beginToolResults = 8
  case endToolResults = 9
  case image = 10
  case prefix = 11
  case suffix = 13
  case imageBreak = 14
  case imageEnd = 15
  case beginSystemPrompt = 16
  case endSystemPrompt = 17
  case beginToolContent = 18
}
