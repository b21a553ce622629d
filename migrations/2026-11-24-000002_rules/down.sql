DROP VIEW answering_rules;
DROP TABLE rules;
