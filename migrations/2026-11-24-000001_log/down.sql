DROP TABLE events;
DROP FUNCTION refuse_change();
DROP TABLE principals;
DROP SEQUENCE principal_numbers;
DROP TABLE partitions;
