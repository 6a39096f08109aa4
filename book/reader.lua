-- A pandoc reader for the literate sources: pandoc -f book/reader.lua rustica.c
--
-- A line that begins with `// ` in column 1 is prose, in pandoc's Markdown. A run
-- of other lines is a listing, which knows its file and its first line. Rules
-- (//====) are neither. In the Makefile prose begins with `# `, and a rule with
-- words in it is a heading.

local function prose(line, file)
  if not file:match 'Makefile$' then
    return line:match '^//[=-]+$' and '' or line:match '^// (.*)' or line:match '^//$' and ''
  end
  local title = line:match '^# %-%-%-%- (.-) %-+$'
  local id = title and title:lower():gsub('%W+', '-')
  return title and ('\n## %s {#make-%s}'):format(title, id)
      or line:match '^# (.*)' or line:match '^#$' and ''
end

function Reader(sources)
  local out = {}
  local function put(...) table.insert(out, string.format(...)) end
  for _, source in ipairs(sources) do
    local file, number, open = source.name, 0, false
    if file:match 'Makefile$' then put '\n# Appendix C. The Makefile {#app-make}\n' end
    for line in (source.text:gsub('\n*$', '\n')):gmatch '(.-)\n' do
      local text = prose(line, file)
      number = number + 1
      if open and text then put '~~~~~~~~\n' end
      if not open and not text and line ~= '' then
        put('\n~~~~~~~~ {.listing file="%s" startFrom="%d"}', file, number)
      end
      open = not text and (open or line ~= '')
      put('%s', text or open and line or '')
    end
    put(open and '~~~~~~~~\n' or '')
  end
  return pandoc.read(table.concat(out, '\n'), 'markdown-auto_identifiers-raw_tex-raw_html' ..
    '-tex_math_dollars-superscript-subscript-citations')
end
