// Checks the length of sentences, over the ends of lines and in the cells of tables. textlint-rule-en-max-word-count
// takes the end of a line for that of a sentence, and skips tables.
const rule = require("textlint-rule-en-max-word-count");

const joined = (node) => ({
  ...node,
  ...(typeof node.value === "string" && { value: node.value.replace(/\n/g, " ") }),
  ...(node.children && { children: node.children.map(joined) }),
});

module.exports = (context, options) => {
  const { Paragraph, TableCell } = context.Syntax;
  const check = rule(context, options)[Paragraph];
  return { [Paragraph]: (node) => check(joined(node)), [TableCell]: check };
};
