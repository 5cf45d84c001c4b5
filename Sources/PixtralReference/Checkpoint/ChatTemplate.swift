/// chat_template.jinja: Tokens.md 10 as far as a Jinja template can follow it. Docs/ChatTemplates.md
/// says how far that is.
///
/// It writes no spaces for the ▁ in front of each text: the tokenizer of tokenizer.json puts them there.
let chatTemplate = #"""
  {#- The template V7, as mistral-common 1.13.1 writes it. Each image is one [IMG]; the processor makes its rows of it. -#}
  {%- set may_follow = {
      'system': ['system', 'user', 'assistant'],
      'user': ['system', 'user', 'assistant'],
      'assistant': ['user', 'assistant', 'tool'],
      'tool': ['user', 'assistant', 'tool'],
  } -%}

  {#- User messages that follow one another become one, and assistant messages do. In each, empty texts vanish, and texts
      that follow one another become one. A turn's chunks are its texts, and none for an image. -#}
  {%- set ns = namespace(turns=[], chunks=[], calls=[], prefix=false, last_user=-1) -%}
  {%- for message in messages -%}
      {%- if message.role not in may_follow -%}
          {{- raise_exception('A message is of role system, user, assistant or tool, not ' ~ message.role ~ '.') -}}
      {%- elif not loop.first and message.role not in may_follow[messages[loop.index0 - 1].role] -%}
          {{- raise_exception('No ' ~ message.role ~ ' message may follow one of role ' ~ messages[loop.index0 - 1].role ~ '.') -}}
      {%- endif -%}
      {%- set content = [{'type': 'text', 'text': message.content}] if message.content is string else message.content or [] -%}
      {%- for chunk in content -%}
          {%- if chunk.type == 'text' and chunk.text and ns.chunks and ns.chunks[-1] is string -%}
              {%- set ns.chunks = ns.chunks[:-1] + [ns.chunks[-1] ~ '\n\n' ~ chunk.text] -%}
          {%- elif chunk.type == 'text' -%}
              {%- set ns.chunks = ns.chunks + ([chunk.text] if chunk.text else []) -%}
          {%- elif chunk.type in ['image', 'image_url'] and message.role == 'user' -%}
              {%- set ns.chunks = ns.chunks + [none] -%}
          {%- else -%}
              {{- raise_exception('V7 has texts, and images in user messages; no ' ~ chunk.type ~ ' in a ' ~ message.role ~ ' message.') -}}
          {%- endif -%}
      {%- endfor -%}
      {%- set ns.calls = ns.calls + (message.tool_calls or []) -%}
      {%- set ns.prefix = ns.prefix or message.prefix | string | lower in ['true', '1', '1.0', 'on', 't', 'y', 'yes'] -%}
      {%- if loop.last or messages[loop.index].role != message.role or message.role in ['system', 'tool'] -%}
          {%- set ns.last_user = ns.turns | length if message.role == 'user' else ns.last_user -%}
          {%- set turn = {'role': message.role, 'chunks': ns.chunks, 'calls': ns.calls, 'prefix': ns.prefix, 'id': message.tool_call_id} -%}
          {%- set ns.turns = ns.turns + [turn] -%}
          {%- set ns.chunks = [] -%}
          {%- set ns.calls = [] -%}
          {%- set ns.prefix = false -%}
      {%- endif -%}
  {%- endfor -%}

  {%- macro checked(id) -%}
      {%- if id is not string or id[:9] | length != 9 or not id[:9].isascii() or not id[:9].isalnum() or id[9:] not in ['', '\n'] -%}
          {{- raise_exception('A tool call has an id of 9 letters and digits, and its result a tool_call_id, not ' ~ id ~ '.') -}}
      {%- endif -%}
      {{- id -}}
  {%- endmacro -%}

  {{- '<s>' -}}
  {%- for turn in ns.turns -%}
      {%- if turn.role == 'system' -%}
          {{- '[SYSTEM_PROMPT]' ~ turn.chunks | join ~ '[/SYSTEM_PROMPT]' -}}
      {%- elif turn.role == 'user' -%}
          {%- if tools and loop.index0 == ns.last_user -%}
              {{- '[AVAILABLE_TOOLS][' -}}
              {%- for tool in tools -%}
                  {{- '{"type": "function", "function": {"name": ' ~ tool.function.name | tojson -}}
                  {{- ', "description": ' ~ (tool.function.description or '') | tojson -}}
                  {{- ', "parameters": ' ~ tool.function.parameters | tojson ~ '}}' ~ ('' if loop.last else ', ') -}}
              {%- endfor -%}
              {{- '][/AVAILABLE_TOOLS]' -}}
          {%- endif -%}
          {{- '[INST]' -}}
          {#- One text and then one image: the image goes first. -#}
          {%- set chunks = [none, turn.chunks[0]] if turn.chunks | length == 2 and turn.chunks[0] is string else turn.chunks -%}
          {%- for chunk in chunks -%}
              {{- chunk if chunk is string else '[IMG]' -}}
          {%- endfor -%}
          {{- '[/INST]' -}}
      {%- elif turn.role == 'assistant' -%}
          {%- if not turn.chunks and not turn.calls -%}
              {{- raise_exception('An assistant message has a text or calls.') -}}
          {%- endif -%}
          {{- (turn.chunks | join).rstrip(' ') -}}
          {%- if turn.calls -%}
              {{- '[TOOL_CALLS][' -}}
              {%- for call in turn.calls -%}
                  {#- Arguments given as text stand as they are: a template cannot read JSON. -#}
                  {%- set arguments = call.function.arguments or {} -%}
                  {{- '{"name": ' ~ call.function.name | tojson ~ ', "arguments": ' -}}
                  {{- (arguments if arguments is string else arguments | tojson) ~ ', "id": ' -}}
                  {{- checked(call.id) | tojson ~ '}' ~ ('' if loop.last else ', ') -}}
              {%- endfor -%}
              {{- ']' -}}
          {%- endif -%}
          {{- '' if turn.prefix else '</s>' -}}
      {%- else -%}
          {{- '[TOOL_RESULTS]' ~ checked(turn.id) ~ '[TOOL_CONTENT]' ~ turn.chunks | join ~ '[/TOOL_RESULTS]' -}}
      {%- endif -%}
  {%- endfor -%}
  """#
