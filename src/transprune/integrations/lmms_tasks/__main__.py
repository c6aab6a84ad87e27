"""Print the folder of the tasks, for `--include_path`."""

from transprune.integrations.lmms_tasks import task_folder

print(task_folder())
