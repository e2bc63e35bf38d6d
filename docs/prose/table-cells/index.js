// The rule of the length of sentences, for the cells of tables, which textlint-rule-en-max-word-count skips.
const rule = require("textlint-rule-en-max-word-count");

module.exports = (context, options) => ({ [context.Syntax.TableCell]: rule(context, options)[context.Syntax.Paragraph] });
